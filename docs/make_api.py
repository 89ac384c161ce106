"""Write docs/api.md from the docstrings of the public face:   python docs/make_api.py"""

import ast
import inspect
import textwrap
from pathlib import Path

import fithubert_upstream
from fithubert_upstream.joint.model import JointModel
from fithubert_upstream.upstream.hubconf import ENTRIES

PAGE = Path(__file__).with_name("api.md")
HEAD = """# API

```python
from fithubert_upstream import load_fithubert

model = load_fithubert("fithubert_mini")
```

The names below are the public API; everything else may change between minor versions. `python docs/make_api.py` writes
this page from the docstrings. B is the number of waveforms, T of samples, L of 20 ms frames and M of 40 ms frames; D is
the feature dimension."""


def signature(function) -> str:
    """`(a: int, b: str = "x") -> None` as it is written in the source, without self."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    node.args.args = [argument for argument in node.args.args if argument.arg not in ("self", "cls")]
    returns = "" if node.returns is None or node.name == "__init__" else f" -> {ast.unparse(node.returns)}"
    return f"({ast.unparse(node.args)}){returns}".replace("'", '"')


def docstring(thing) -> str:
    return f"```text\n{inspect.getdoc(thing)}\n```"


def fields(config: type) -> str:
    """The fields of a dataclass, one a line."""
    node = ast.parse(inspect.getsource(config)).body[0]
    lines = [ast.unparse(line) for line in node.body if isinstance(line, ast.AnnAssign)]
    return "\n".join(["```text", *lines, "```"])


def of_class(name: str, cls: type) -> list[str]:
    parts = [f"## `{name}`", docstring(cls)]
    if "__dataclass_fields__" in vars(cls) and "__init__" not in inspect.getsource(cls):  # one of ours
        parts.append(fields(cls))
    for key, value in vars(cls).items():
        function = getattr(value, "__func__", value)
        if key.startswith("_") or not inspect.isfunction(function) or function.__doc__ is None:
            continue
        parts += [f"### `{name}.{key}{signature(function)}`", docstring(function)]
    return parts


def render() -> str:
    parts = [HEAD]
    for name in sorted(fithubert_upstream.__all__, key=str.lower):
        thing = getattr(fithubert_upstream, name)
        if inspect.isclass(thing):
            parts += of_class(name, thing)
        else:
            parts += [f"## `{name}{signature(thing)}`", docstring(thing)]
    parts += of_class("JointModel", JointModel)
    parts.append("## Entries\n\nOn `torch.hub`, on `s3prl.hub` after `register()`, and as `-u`:")
    for name, entry in ENTRIES.items():
        parts += [f"### `{name}{signature(entry)}`", docstring(entry)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")

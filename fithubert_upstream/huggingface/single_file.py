"""The model as one Python file that needs torch and transformers alone: what `trust_remote_code=True` loads.

It is made from this package's own source: the classes of `modeling` and every definition that they use, in an order in
which each comes after those it needs, without the imports between modules.
"""

import ast
import os
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..files import write_text
from ..runs.versions import VERSION
from .configuration import CODE_FILE

PACKAGE = Path(__file__).parent.parent
ROOTS = ("FitHubertModelConfig", "FitHubertModel", "FitHubertForCTC", "FitHubertForSequenceClassification")
HEAD = '''# Copyright the fithubert_upstream authors. Licensed under the Apache License, Version 2.0
# (http://www.apache.org/licenses/LICENSE-2.0).
"""FitHuBERT for transformers. Written by `fithubert export-hf` of fithubert-upstream {version}; do not edit.

Load it with `AutoModel.from_pretrained(FOLDER, trust_remote_code=True)`.
"""
'''

Place = tuple[str, str]  # module of this package, and a name in it; "" for a module itself


@dataclass
class Module:
    """A source file: what it defines and what it imports, by name."""

    source: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    ours: dict[str, Place] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)  # name -> the import, as it is written


def read_module(name: str) -> Module:
    """A module of this package by its dotted name."""
    module = Module(PACKAGE.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    for node in ast.parse(module.source).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*name.split(".")[: -node.level], *filter(None, (node.module or "").split("."))]
            for alias in node.names:
                inner = PACKAGE.joinpath(*base, f"{alias.name}.py").is_file()
                place = (".".join([*base, alias.name]), "") if inner else (".".join(base), alias.name)
                module.ours[alias.asname or alias.name] = place
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                text = alias.name + (f" as {alias.asname}" if alias.asname else "")
                text = f"from {node.module} import {text}" if isinstance(node, ast.ImportFrom) else f"import {text}"
                module.others[alias.asname or alias.name.partition(".")[0]] = text
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                module.definitions |= {n.id: node for n in ast.walk(target) if isinstance(n, ast.Name)}
    return module


@dataclass
class Collection:
    """The definitions that some others use, found one after the other."""

    modules: dict[str, Module] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)  # modules, each after those that it takes from
    needed: set[Place] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)

    def add(self, module: str, name: str) -> None:
        """A definition and everything that it uses."""
        if (module, name) in self.needed:
            return
        self.needed.add((module, name))
        source = self.read(module)
        for node in ast.walk(source.definitions[name]):
            if isinstance(node, ast.Attribute) and (found := inner_module(source, node)):
                self.add(found, node.attr)
            elif isinstance(node, ast.Name) and node.id in source.definitions:
                self.add(module, node.id)
            elif isinstance(node, ast.Name) and source.ours.get(node.id, ("", ""))[1]:
                self.add(*source.ours[node.id])
            elif isinstance(node, ast.Name) and node.id in source.others:
                self.imports.add(source.others[node.id])

    def read(self, name: str) -> Module:
        if name not in self.modules:
            self.modules[name] = read_module(name)
            for other, _ in self.modules[name].ours.values():
                if PACKAGE.joinpath(*other.split(".")).with_suffix(".py").is_file():
                    self.read(other)
            self.order.append(name)
        return self.modules[name]

    def text(self, module: str) -> str:
        """The definitions of a module that are needed."""
        source = self.modules[module]
        nodes = {id(node): node for name, node in source.definitions.items() if (module, name) in self.needed}
        parts = [written(source, node) for node in sorted(nodes.values(), key=lambda node: node.lineno)]
        return "\n\n\n".join(parts)


def inner_module(source: Module, node: ast.Attribute) -> str | None:
    """The module of this package that `values.whole` takes `whole` from; None for other attributes."""
    if isinstance(node.value, ast.Name) and source.ours.get(node.value.id, ("", "x"))[1] == "":
        return source.ours[node.value.id][0]
    return None


def written(source: Module, node: ast.stmt) -> str:
    """A definition with the comment above it, and without the names of modules before those of their content."""
    lines = source.source.splitlines()
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner_module(source, inner):
            assert isinstance(inner.value, ast.Name)
            line = lines[inner.lineno - 1]  # ASCII up to there
            lines[inner.lineno - 1] = line.replace(f"{inner.value.id}.{inner.attr}", inner.attr, 1)
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return "\n".join(lines[first - 1 : node.end_lineno])


@cache
def single_file() -> str:
    """The source of the file."""
    collection = Collection()
    for root in ROOTS:
        place = "huggingface.modeling"
        collection.add(*collection.read(place).ours.get(root, (place, root)))
    owners: dict[str, str] = {}
    for module, name in sorted(collection.needed):
        assert owners.setdefault(name, module) == module, f"{name} is defined in {owners[name]} and in {module}"
    parts = [f"# From {module}\n\n{text}" for module in collection.order if (text := collection.text(module))]
    imports = sorted(collection.imports, key=lambda text: (text.split()[1].split(".")[0] not in STANDARD, text))
    return "\n\n\n".join([HEAD.format(version=VERSION) + "\n" + "\n".join(imports), *parts]) + "\n"


STANDARD = sys.stdlib_module_names


def write_code(folder: str | os.PathLike) -> None:
    """Write the file into the folder of a model."""
    write_text(Path(folder) / CODE_FILE, single_file())

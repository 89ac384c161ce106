"""`--hub huggingface`: s3prl's runner takes an upstream from a repository of the Hugging Face Hub.

s3prl logs in and downloads by functions that huggingface_hub >= 1.0 no longer has. Here the repository is fetched
before anything else is done, with the token of `hf auth login` or HF_TOKEN if there is one.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from ...compat.runs import replaced
from ...errors import FitHubertError


@contextlib.contextmanager
def huggingface_upstream(args: argparse.Namespace) -> Iterator[None]:
    """Fetch the repository that -u names, and let s3prl's runner have it in the block.

    Raises
    ------
    FitHubertError
        It cannot be fetched, or is none of s3prl's kind.
    """
    import huggingface_hub
    from s3prl import run_downstream

    folder = _fetch(args)
    no_login = SimpleNamespace(login=lambda **credentials: None, save_token=lambda token: None)
    before = sys.modules.pop("expert", None)
    with (
        replaced(run_downstream, "HfApi", lambda: no_login),
        replaced(run_downstream, "HfFolder", no_login),
        replaced(huggingface_hub, "snapshot_download", lambda *names, **options: str(folder)),
    ):
        try:
            yield
        finally:
            sys.modules.pop("expert", None)
            sys.path[:] = [path for path in sys.path if path != str(folder)]  # s3prl adds it
            if before is not None:
                sys.modules["expert"] = before


def _fetch(args: argparse.Namespace) -> Path:
    import huggingface_hub

    name = args.upstream
    if name is None:
        raise FitHubertError("-u: expected the name of a repository, found none; give for example -u USER/MODEL")
    if args.upstream_ckpt is not None:
        raise FitHubertError("-k: expected none with --hub huggingface; --upstream_model_name names the file")
    try:
        folder = Path(huggingface_hub.snapshot_download(name, revision=args.upstream_revision))
    except Exception as error:  # of the hub, of the network, of a name that cannot be one
        reason = " ".join(str(error).split())[:160]
        raise FitHubertError(f"-u {name}: expected a repository of the Hugging Face Hub, found: {reason}") from error
    for file in ("expert.py", "requirements.txt", args.upstream_model_name):
        if not (folder / file).is_file():
            raise FitHubertError(f"-u {name}: expected an upstream made for s3prl, found no {file} in the repository")
    return folder

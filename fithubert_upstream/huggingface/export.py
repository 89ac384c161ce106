"""`fithubert export-hf`: a student as a folder that transformers load without this package."""

import argparse
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import torch

from .. import assets
from ..audio import SAMPLE_RATE
from ..checkpoints.load import load_fithubert
from ..errors import FitHubertError, from_extra
from ..files import atomic_folder, write_text
from ..models.fithubert import FitHubert
from ..models.lengths import valid_mask
from ..runs.outputs import check_output_folder
from ..runs.parser import Parser
from .card import Facts, model_card
from .configuration import CODE_FILE

TOLERANCE = 1e-4  # largest difference of the folder's features to the student's own


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fithubert export-hf",
        description="Write a student as a folder for transformers: config.json, model.safetensors, "
        "preprocessor_config.json, the model's code in one file, and a model card. The folder's features are compared "
        "with the student's before it is saved.",
        epilog="example: fithubert export-hf student.safetensors -o my_student --push me/my_student",
    )
    parser.add_argument(
        "ckpt", help=f"a student's .safetensors, states-*.ckpt or official checkpoint, or {' or '.join(assets.NAMES)}"
    )
    parser.add_argument("model_config", nargs="?", help="the .yaml of an official Lightning .ckpt")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--license", default="", help="the card's licence, such as apache-2.0")
    parser.add_argument("--base-model", default="", metavar="ID", help="the teacher's name on the Hub")
    parser.add_argument("--dataset", action="append", default=[], metavar="ID", help="a data set it learned from")
    parser.add_argument(
        "--result", action="append", default=[], type=Path, metavar="FILE", help="a result.json of `fithubert superb`"
    )
    parser.add_argument("--push", metavar="USER/NAME", help="upload the folder to the Hugging Face Hub")
    return parser


def main(argv: list[str]) -> None:
    """`fithubert export-hf STUDENT -o DIR`."""
    args = build_parser().parse_args(argv)
    check_output_folder(args.output)
    student = load_fithubert(args.ckpt, args.model_config)
    facts = Facts(args.license, args.base_model, tuple(args.dataset), tuple(args.result))
    difference = export(student, args.output, args.ckpt, facts)
    size = sum(path.stat().st_size for path in Path(args.output).iterdir()) / 1e6
    parameters = sum(parameter.numel() for parameter in student.parameters())
    print(
        f"{args.output}: {parameters:,} parameters, {size:.1f} MB, largest difference to the student {difference:.1e}"
    )
    if args.push:
        print(push(args.output, args.push))


def export(student: FitHubert, folder: str | Path, source: str = "", facts: Facts | None = None) -> float:
    """Write the folder of a student, whole or not at all.

    Parameters
    ----------
    student : FitHubert
        In eval mode, on the CPU.
    folder : path
        New, or empty.
    source, facts
        What `model_card` takes.

    Returns
    -------
    float
        The largest difference of the folder's features on noise to the student's.

    Raises
    ------
    FitHubertError
        transformers are missing; the folder cannot be written; a result is none; or the folder's features, computed
        by its own code, are not the student's.
    """
    with from_extra("hf", "a folder for transformers"):
        from transformers import Wav2Vec2FeatureExtractor  # noqa: F401
    card = model_card(student, str(source), Path(folder).resolve().name, facts or Facts())
    with atomic_folder(folder) as temporary, _quiet():
        _write(student, temporary)
        write_text(temporary / "README.md", card)
        return _compare(student, temporary)


def _write(student: FitHubert, folder: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    from .auto import FitHubertModel  # noqa: F401 (the folder gets its code)
    from .weights import from_student

    from_student(student).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=SAMPLE_RATE,
        padding_value=0.0,
        padding_side="right",
        do_normalize=False,  # as UpstreamExpert
        return_attention_mask=True,
    )
    extractor.save_pretrained(folder)


def _compare(student: FitHubert, folder: Path) -> float:
    """Load the folder by its own code and run it beside the student."""
    lengths = torch.tensor([1, 24000, 9999])
    waveforms = 0.1 * torch.randn(3, 24000, generator=torch.Generator().manual_seed(0))
    mask = valid_mask(lengths, 24000)
    model = load_by_code(folder).FitHubertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(waveforms * mask, mask.long(), output_hidden_states=True)
        projection, valid, padded = student.extract(waveforms, lengths)
        encoded, frames = student.transform(projection, valid if padded else None), student.frame_lengths(lengths)
        projected = student.project(encoded, frames)
        states = student.hidden_states(projection, encoded, projected, frames)
    pairs = [(found.last_hidden_state, projected[-1] if projected else states[-1])]
    pairs += zip(found.hidden_states, states, strict=True)
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    if not difference <= TOLERANCE:  # nor is NaN
        raise FitHubertError(
            f"expected features within {TOLERANCE:g} of the student's, found a difference of {difference:.2g}; "
            "nothing was written"
        )
    return difference


def load_by_code(folder: str | Path) -> Any:
    """The module in a folder's code file, as `trust_remote_code=True` loads it but without transformers' cache."""
    name, path = "modeling_fithubert", Path(folder) / CODE_FILE
    spec = importlib.util.spec_from_file_location(name, path, loader=_WithoutBytecode(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _WithoutBytecode(SourceFileLoader):
    """Writes no `__pycache__` into a folder that is to be published."""

    def set_data(self, *args: Any, **options: Any) -> None:
        """Nothing is kept."""


def push(folder: str | Path, repository: str) -> str:
    """Upload a folder to the Hub; the folder stays. Returns what to tell.

    Raises
    ------
    FitHubertError
        The Hub cannot be reached, knows no such user, or refuses.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        url = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload FitHuBERT")
    except Exception as error:  # of httpx, requests, the Hub or its offline mode, by version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FitHubertError(
            f"--push {repository}: the Hub could not be reached or refused ({reason}); {folder} is complete: upload it "
            f"later with `hf upload {repository} {folder}`"
        ) from error
    return f"uploaded to {url}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and notes."""
    from transformers.utils import logging as transformers_logging

    level = logging.root.manager.disable
    bars = transformers_logging.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(level)
        if bars:
            transformers_logging.enable_progress_bar()

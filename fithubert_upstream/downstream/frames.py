"""How many frames a task needs of its shortest utterance, for the feature that was chosen."""

import argparse
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import FitHubertError
from .sv import check_lengths

XVECTOR_FRAMES = 16  # its convolutions take 14 away, and a standard deviation needs 2
STEP, LONGEST = 80, 160_000  # samples


def check_frames(args: argparse.Namespace, config: dict[str, Any], rate: int, frames: Callable[[int], int]) -> None:
    """Raise FitHubertError where the chosen feature leaves too few frames for the task.

    Parameters
    ----------
    args, config : s3prl's flags and config.
    rate : samples to a frame.
    frames : samples of an utterance -> its frames.
    """
    expert = config["downstream_expert"]
    if args.mode == "inference":
        return
    if args.downstream == "sv_voxceleb1" and expert["modelrc"].get("module") == "XVector":
        splits = [args.evaluate_split] if args.mode == "evaluate" else config["runner"]["eval_dataloaders"]
        _check_speakers(args, expert["datarc"], splits, frames)
    if args.downstream == "diarization":
        _check_shift(args, expert["datarc"].get("frame_shift"), rate)
    block, where = {"asr": (expert.get("modelrc"), "modelrc"), "ctc": (expert.get("model"), "model")}.get(
        args.downstream, (None, "")
    )
    if block is not None:
        _check_rate(args, block, where, rate)


def _check_speakers(
    args: argparse.Namespace, data: dict[str, Any], splits: list[str], frames: Callable[[int], int]
) -> None:
    lengths = range(STEP, LONGEST, STEP)
    shortest = lengths[bisect_left(lengths, XVECTOR_FRAMES, key=frames)]
    trials = {split: Path(data[f"{split}_meta_data"]) for split in splits}
    min_samples = data["vad_config"]["min_sec"] if args.mode == "train" else None
    check_lengths(Path(data["file_path"]), trials, min_samples, shortest)


def _check_shift(args: argparse.Namespace, shift: int | None, rate: int) -> None:
    """s3prl repeats the upstream's frames for labels that come more often, a whole number of times each."""
    if shift is not None and rate % shift:
        key = "config.downstream_expert.datarc.frame_shift"
        raise FitHubertError(
            f"-s {args.upstream_feature_selection}: expected a frame_shift of {rate} samples, those of its frames, or "
            f"a whole part of them ({key}), found {shift}; leave it out"
        )


def _check_rate(args: argparse.Namespace, block: dict[str, Any], where: str, rate: int) -> None:
    """s3prl's RNNs and Wav2Letter bring features to `total_rate` samples a frame, by taking frames together."""
    model = block.get(block.get("select")) or {}
    total = model.get("total_rate", 320)
    if block.get("select") in ("RNNs", "Wav2Letter") and 0 < total < rate:
        key = f"config.downstream_expert.{where}.{block['select']}.total_rate"
        raise FitHubertError(
            f"-s {args.upstream_feature_selection}: expected a frame every {total} samples or more often ({key}), "
            f"found one every {rate}; give -o {key}=-1, or another feature"
        )

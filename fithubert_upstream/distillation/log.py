"""What a training run tells: losses.csv, TensorBoard, a progress bar, and a picture at the end."""

import csv
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..compat.tensorboard import drop_what_cannot_be_written
from ..files import atomic_path, named
from ..report import BARS, PALE, figure, save


class TrainLog:
    """The log of a run in `folder`, for the one process that writes; rows after `step`, left from a break, go.

    A row is `step`, `loss`, the errors named `errors` (means since the row before), `valid` (empty where none was
    made), `lr`, and `hours_per_hour`: hours of audio learned from in an hour, everything counted in.
    """

    def __init__(self, folder: Path, errors: Sequence[str], step: int, steps: int, job: str = "distill"):
        from tensorboardX import SummaryWriter

        drop_what_cannot_be_written()

        self.names = ["step", "loss", *errors, "valid", "lr", "hours_per_hour"]
        self.path = folder / "losses.csv"
        kept = [row for row in read_losses(self.path) if row["step"] <= step]
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows(kept)
        self.file = self.path.open("a", newline="", encoding="utf-8")
        self.writer = csv.DictWriter(self.file, self.names)
        with named(folder / "tensorboard"):
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self.bar = tqdm(total=steps, initial=min(step, steps), unit="step", desc=job, dynamic_ncols=True)

    def add(self, row: dict[str, float | None]) -> None:
        """Write a row, with `None` for what was not measured."""
        with named(self.path):
            self.writer.writerow(row)
            self.file.flush()
        for name, value in row.items():
            if name != "step" and value is not None:
                self.board.add_scalar(name, value, global_step=row["step"])
        shown = {"loss": f"{row['loss']:.4f}", "lr": f"{row['lr']:.1e}", "h/h": f"{row['hours_per_hour']:.1f}"}
        if "sparsity" in row:
            shown["sparsity"] = f"{row['sparsity']:.3f}"
        if row["valid"] is not None:
            shown["valid"] = f"{row['valid']:.4f}"
        self.bar.set_postfix(shown, refresh=False)

    def close(self) -> None:
        self.bar.close()
        self.board.close()
        with named(self.path):
            self.file.close()


class Stopwatch:
    """Seconds of audio and of time: since the last row, and in all."""

    def __init__(self) -> None:
        self.start = self.row_start = time.perf_counter()
        self.audio = self.row_audio = 0.0

    def add(self, seconds: float) -> None:
        self.audio += seconds

    def row(self, processes: int) -> float:
        """Hours of audio an hour since the last call, of all processes if each has as much as this one."""
        now = time.perf_counter()
        speed = (self.audio - self.row_audio) * processes / (now - self.row_start)
        self.row_start, self.row_audio = now, self.audio
        return speed

    def total(self, processes: int) -> float:
        return self.audio * processes / (time.perf_counter() - self.start)


def peak_memory(device: torch.device) -> float:
    """GiB that this process held at most: of the GPU where it used one, else of the machine's; NaN: not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux, whose ru_maxrss counts in what the parent process held
        kib = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if kib:
            return int(kib[0]) / 2**20
    try:
        import resource
    except ImportError:  # on Windows
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def read_losses(path: Path) -> list[dict[str, float | None]]:
    """The rows of a losses.csv, numbers as numbers and what is empty as None; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: (int(value) if name == "step" else float(value)) if value else None for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def draw_losses(folder: Path) -> Path:
    """losses.png beside losses.csv: the loss, its parts, and the error on the validation set that a run selects by."""
    rows = read_losses(folder / "losses.csv")
    picture = figure(7, 4)
    axes = picture.subplots()
    grey, lowest = False, 0.0
    for name in rows[0] if rows else ():
        if name in ("step", "lr", "hours_per_hour", "sparsity", "target_sparsity"):
            continue
        points = [(row["step"], row[name]) for row in rows if row[name] is not None and math.isfinite(row[name])]
        if name == "valid":
            style = {"color": BARS[1], "marker": ".", "label": "validation"}
        elif name == "loss":
            style = {"color": BARS[0], "label": "loss"}
        else:
            style = {"color": PALE, "linewidth": 0.8, "zorder": 1, "label": None if grey else "its parts"}
            grey = True
        if points:
            axes.plot(*zip(*points, strict=True), **style)
            lowest = min(lowest, *(value for _, value in points))
    axes.set(xlabel="update", ylabel="loss", ylim=(lowest, None))
    if rows:
        axes.legend(frameon=False)
    path = folder / "losses.png"
    save(picture, path)
    return path

"""`fithubert benchmark train`: seconds of audio per second of distillation, for our step and a straightforward one.

The two alternate on the same utterances: ours takes one batch, cropped to the shortest, through `fithubert distill`'s
own code; the other takes padded batches of 3 (`benchmarks.baseline`). Both start from the same teacher and student.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..data.batches import Batch, BatchPlan
from ..data.loader import DataConfig, open_corpus
from ..distillation.config import DistillationConfig
from ..distillation.log import peak_memory
from ..distillation.optimizer import OptimizerConfig
from ..distillation.recipe import RunConfig, TrainConfig, TrainerConfig
from ..distillation.train import Training, endless
from ..errors import FitHubertError, from_extra
from ..files import write_json, write_text
from ..runs.precision import TRAINING_PRECISIONS, choose_precision
from ..runs.workers import SpawnContext
from ..settings.files import find_config
from ..teachers.config import TeacherConfig
from .baseline import PlainDistillation, PlainStudent, plain_teacher
from .machine import Clock
from .train_inputs import LENGTHS, Padded, longest_samples, write_noise
from .train_report import draw, machine, markdown, summarise

with from_extra("distill", "distillation"):
    from lightning_fabric import Fabric

# For a teacher of HuBERT Base's size, of hubert_mini's, and for Whisper base.
STUDENTS = {"base": "fithubert.yaml", "mini": "fithubert_mini.yaml", "whisper": "fithubert_mini.yaml"}
PLAIN_BATCH = 3  # the authors'
WARM_UP = 2  # updates


@dataclass(frozen=True)
class Setup:
    """What is measured; `audio` is a folder, `batch` counts utterances in a batch of ours."""

    teacher: str
    audio: str
    device: str
    precision: str
    batch: int
    rounds: int
    seed: int


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher",
        choices=STUDENTS,
        default="base",
        help="teacher size, or Whisper base, with random weights (default: %(default)s)",
    )
    parser.add_argument("--data", metavar="FOLDER", help=f"of audio; default: noise of {LENGTHS}")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--precision", choices=TRAINING_PRECISIONS, default="auto", help="of ours (%(default)s)")
    parser.add_argument("--batch", type=int, help="utterances in a batch of ours; default: 3 on cpu, 24 on cuda")
    parser.add_argument("--rounds", type=int, help="default: 5 on cpu, 10 on cuda")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("-o", "--output", default="result/benchmark", help="folder (%(default)s)")


def run(args: argparse.Namespace) -> dict:
    """Measure, print and write `train.json`, `train.md` and `train.png`; returns what is in `train.json`.

    Raises
    ------
    FitHubertError
        There is no such device; the flags or the audio do not suffice.
    """
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_cuda = device == "cuda"
    if on_cuda and not torch.cuda.is_available():
        raise FitHubertError("--device cuda: expected a CUDA GPU, found none")
    with tempfile.TemporaryDirectory(prefix="fithubert-benchmark-") as name:
        folder = Path(name)
        setup = Setup(
            teacher=args.teacher,
            audio=args.data or str(folder / "noise"),
            device=device,
            precision=choose_precision(args.precision, device)[0],
            batch=args.batch or (24 if on_cuda else 3),
            rounds=args.rounds or (10 if on_cuda else 5),
            seed=args.seed,
        )
        if setup.batch < 1 or setup.batch % PLAIN_BATCH or setup.rounds < 1:
            raise FitHubertError(
                f"expected --batch a multiple of {PLAIN_BATCH} and --rounds of at least 1, found {setup.batch} and "
                f"{setup.rounds}"
            )
        if args.data is None:
            write_noise(folder / "noise", setup.rounds, setup.batch, setup.seed)
        losses, memory, rows = measure(setup, folder)
    results = {
        "machine": machine(torch.device(device)),
        "teacher": f"{setup.teacher} size, random weights",
        "student": STUDENTS[setup.teacher],
        "audio": args.data or f"noise of {LENGTHS}",
        "precision": {"ours": setup.precision, "plain": "float16 autocast" if on_cuda else "32-true"},
        "seed": setup.seed,
        "loss_of_one_batch": losses,  # before training, without dropout
        "peak_memory_gib": memory,
        "warm_up_updates": WARM_UP,
        "rounds": rows,
        "summary": summarise(rows),
    }
    output = Path(args.output)
    table = markdown(results)
    write_json(output / "train.json", results)
    write_text(output / "train.md", table + "\n")
    draw(results, output / "train.png")
    print(f"\n{table}\n\nin {output}: train.png, train.md, train.json")
    return results


class Side:
    """What both sides have: models with the same random weights, and the groups of utterances, from one seed."""

    def __init__(self, setup: Setup, folder: Path):
        model = DistillationConfig.from_yaml(find_config(STUDENTS[setup.teacher]))
        source, width = ("whisper", 512) if setup.teacher == "whisper" else ("transformers", model.student.head_dim)
        self.teacher_layers = model.teacher.layers
        teacher = TeacherConfig(source, str(folder / "teacher"), layers=self.teacher_layers)
        self.model = DistillationConfig(replace(model.student, head_dim=width), teacher)
        workers = 4 if setup.device == "cuda" else 0
        self.data = DataConfig((setup.audio,), batch_size=setup.batch, num_workers=workers)
        torch.manual_seed(setup.seed)
        self.plain_teacher, self.plain_student = plain_teacher(setup.teacher), PlainStudent(self.model.student)
        self.device = torch.device(setup.device)
        self.clock = Clock(self.device)
        self.noise = 0.1 * torch.randn(2, 2 * SAMPLE_RATE)

    def loss(self) -> float:
        """The loss of two seconds of noise, without dropout."""
        raise NotImplementedError

    def update(self, batches: Iterator[Batch]) -> None:
        raise NotImplementedError

    def warm_up(self) -> None:
        """Updates that are not timed, on batches as long as any will be."""
        for _ in range(WARM_UP):
            lengths = torch.full((self.size,), self.longest)
            self.update(iter([Batch(0.1 * torch.randn(self.size, self.longest), lengths)]))

    def round(self, number: int) -> dict:
        """The updates of a group: seconds of audio (without padding), shapes of batches, seconds of each part, and the
        processor time of it all, which other programs do not change."""
        shapes, audio = [], 0.0

        def noted() -> Iterator[Batch]:
            nonlocal audio
            for batch in self.batches:
                self.clock.mark("data")
                shapes.append(list(batch.waveforms.shape))
                audio += int(batch.lengths.sum()) / SAMPLE_RATE
                yield batch

        self.clock.start()
        start = time.process_time()
        for _ in range(self.updates[number]):
            self.update(noted())
            self.clock.mark("optimizer")
        seconds, processor = self.clock.stop(), time.process_time() - start
        return {"audio": audio, "shapes": shapes, "seconds": seconds, "processor_seconds": processor}


class Ours(Side):
    """A `Training` as `fithubert distill` makes it, by the recipe of `fithubert_modern.yaml` but for the batches."""

    def __init__(self, setup: Setup, folder: Path):
        super().__init__(setup, folder)
        self.plain_teacher.save_pretrained(folder / "teacher")
        trainer = TrainerConfig(steps=10**6, precision=setup.precision, clip=5.0, seed=setup.seed)
        fabric = Fabric(accelerator=setup.device, devices=1, precision=setup.precision)
        fabric.launch()
        recipe = TrainConfig(self.data, OptimizerConfig(), trainer)
        self.training = Training(fabric, RunConfig(self.model, recipe), folder / "run")
        self.training.task.student.load_state_dict(self.plain_student.weights())
        self.size, self.longest = setup.batch, longest_samples(self.training.loader.dataset.corpus)
        self.batches = endless(self.training.loader, 0)
        self.updates = [1] * setup.rounds
        self._hang_marks()
        del self.plain_teacher, self.plain_student

    def _hang_marks(self) -> None:
        task, fabric = self.training.task, self.training.fabric
        loss, backward = task.loss, fabric.backward

        def marked_loss(*args):
            result = loss(*args)
            self.clock.mark("student")
            return result

        def marked_backward(*args):
            backward(*args)
            self.clock.mark("backward")

        task.teacher.register_forward_hook(lambda *_: self.clock.mark("teacher"))
        task.loss, fabric.backward = marked_loss, marked_backward

    @torch.no_grad()
    def loss(self) -> float:
        self.training.task.eval()
        with self.training.fabric.autocast():
            loss, _ = self.training.task(self.noise.to(self.device))
        self.training.task.train()
        return loss.item()

    def update(self, batches: Iterator[Batch]) -> None:
        self.training.update(batches)


class Plain(Side):
    """The straightforward loop over the same groups, in batches of 3."""

    def __init__(self, setup: Setup, folder: Path):
        super().__init__(setup, folder)
        self.plain = PlainDistillation(
            self.plain_teacher,
            self.plain_student,
            self.model.loss.hint_weight,
            OptimizerConfig(),
            self.device,
            self.teacher_layers,
        )
        corpus = open_corpus(self.data.train, self.data)
        plan = BatchPlan(corpus.seconds, corpus.shards, batch_size=setup.batch)
        groups = [plan.batch(setup.seed, number) for number in range(setup.rounds)]
        thirds = [np.split(group, range(PLAIN_BATCH, len(group), PLAIN_BATCH)) for group in groups]
        padded = Padded(corpus, [third for parts in thirds for third in parts])
        self.updates = [len(parts) for parts in thirds]  # of each group
        self.size, self.longest = PLAIN_BATCH, longest_samples(corpus)
        self.batches = iter(DataLoader(padded, batch_size=None, num_workers=self.data.num_workers))

    @torch.no_grad()
    def loss(self) -> float:
        self.plain.student.eval()
        loss = self.plain.loss(self.noise, torch.full((len(self.noise),), self.noise.size(1)))
        self.plain.student.train()
        return loss.item()

    def update(self, batches: Iterator[Batch]) -> None:
        self.plain.update(*next(batches)[:2], self.clock.mark)


def measure(setup: Setup, folder: Path) -> tuple[dict[str, float], dict[str, float], list[dict]]:
    """Each side's loss of one batch, its peak memory in GiB, and a row of both sides for each round, one at a time.

    Each side has a process of its own, as it would in use: they do not share what the allocators keep.
    """
    context = SpawnContext()
    pipes, processes = {}, []
    try:
        for name, side in (("ours", Ours), ("plain", Plain)):
            pipes[name], end = context.Pipe()
            processes.append(context.Process(target=_serve, args=(side, setup, folder, end), daemon=True))
            processes[-1].start()
            end.close()
        losses = {name: _receive(pipe, name) for name, pipe in pipes.items()}
        rows = []
        for number in tqdm(range(setup.rounds), desc="benchmark", unit="round"):
            row = {}
            for name in reversed(pipes) if number % 2 else pipes:
                pipes[name].send(number)
                row[name] = _receive(pipes[name], name)
            rows.append(row)
        return losses, {name: _receive(pipe, name) for name, pipe in pipes.items()}, rows
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _receive(pipe: Connection, name: str) -> Any:
    try:
        found = pipe.recv()
    except EOFError as error:
        raise FitHubertError(
            f"the process of {name} died (see above; out of memory?); try a smaller --batch"
        ) from error
    if isinstance(found, FitHubertError):
        raise found
    return found


def _serve(side: type[Side], setup: Setup, folder: Path, pipe: Connection) -> None:
    """A side's process: its loss, a round whenever asked for one, its peak memory."""
    try:
        this = side(setup, folder)
        loss = this.loss()
        this.warm_up()
        pipe.send(loss)  # ready; the other side must be, too, before a round begins
        for _ in range(setup.rounds):
            pipe.send(this.round(pipe.recv()))
        pipe.send(peak_memory(this.device))
    except FitHubertError as error:
        pipe.send(error)

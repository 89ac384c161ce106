"""Flags for two steps of each task, and what the command says that refuses them."""

from pathlib import Path

from fithubert_upstream import cli
from fithubert_upstream.downstream.tasks import TASKS

DATA, CORPUS = "config.downstream_expert.datarc", "config.downstream_expert.corpus"
STEPS = "config.runner.total_steps=2,,config.runner.eval_step=2,,config.runner.save_step=2,,config.runner.log_step=1"
VARIABLES = {key: task.corpus for key, task in TASKS.items()}
LOADER = "config.downstream_expert.loaderrc"
BATCHES = f"{DATA}.num_workers=0,,{DATA}.train_batch_size=3"
SIZES = {
    "pr": f"{CORPUS}.num_workers=0",
    "asr": f"{DATA}.num_workers=0,,{DATA}.batch_size=4,,config.downstream_expert.modelrc.RNNs.dim=[16]",
    "ks": f"{DATA}.num_workers=0,,{DATA}.batch_size=4",
    "sv": BATCHES,
    "ic": BATCHES,
    "sid": BATCHES,
    "er": BATCHES,
    "sf": f"{CORPUS}.num_workers=0,,{CORPUS}.batch_size=2,,config.downstream_expert.model.RNNs.dim=[16]",
    "sd": f"{LOADER}.num_workers=0,,{LOADER}.train_batchsize=2,,config.downstream_expert.modelrc.hidden_size=8",
}
ALL = ["pr", "asr", "ks", "sv"]
CLASSIFICATION = ["ic", "sid", "er"]


def train(key: str, expdir: str, *overrides: str, upstream: tuple[str, ...] = ("fbank",)) -> list[str]:
    """Flags to train a task for two steps."""
    task = ["-m", "train", "-d", TASKS[key].downstream, "-c", f"mini/{key}.yaml", "-u", *upstream]
    return [*task, "-p", expdir, "-o", ",,".join([STEPS, SIZES[key], *overrides])]


def instead(flags: list[str], flag: str, value: str) -> list[str]:
    """The flags with another value for one of them."""
    at = flags.index(flag) + 1
    return [*flags[:at], value, *flags[at + 1 :]]


def told(capsys, *flags: str) -> str:
    """The one line that the command ends with: alone on its line, the last of stderr, exit status 2."""
    assert cli.main(["downstream", *flags]) == 2
    text = capsys.readouterr().err
    lines = [line for line in text.split("\n") if line.startswith("fithubert downstream: ")]
    assert len(lines) == text.count("fithubert downstream: ") == 1
    assert text.endswith(f"\n{lines[0]}\n") or text == f"{lines[0]}\n"
    return lines[0]


def refused(capsys, *flags: str) -> str:
    """The same, and nothing was trained."""
    line = told(capsys, *flags)
    assert not list(Path(flags[flags.index("-p") + 1]).glob("*.ckpt"))
    return line

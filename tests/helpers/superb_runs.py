"""What stands in for s3prl's runner under `fithubert superb`, and what it is given."""

from pathlib import Path

import yaml

from fithubert_upstream.downstream.tasks import TASKS
from fithubert_upstream.superb.names import Upstream

BEST = {task.downstream: task.best for task in TASKS.values()}
TWO = [Upstream("fbank", "fbank"), Upstream("student", "fithubert", "student.safetensors", "last_hidden_state")]
ALL = ["pr", "asr", "ks", "sv"]
SCORES = {
    "ctc": {"ctc-libriphone/test-per": 0.25},
    "asr": {"asr/test-clean-wer": 42.5},
    "speech_commands": {"speech_commands/test-acc": 0.75},
    "sv_voxceleb1": {"sv-voxceleb1/test-EER": 0.125},
    "diarization": {"diarization/test-der": 0.5, "diarization/test-rttm-der": 0.375},
}


def flag(argv: list[str], name: str) -> str | None:
    return argv[argv.index(name) + 1] if name in argv else None


def config_in(argv: list[str]) -> dict:
    """The finished config that s3prl is given."""
    return yaml.safe_load(Path(flag(argv, "-c")).read_text())


class Runner:
    """Instead of run_downstream.main: remembers the flags, trains by writing files, may fail at a call."""

    def __init__(self):
        self.calls = []
        self.error, self.fail_at = None, None
        self.best = True

    def __call__(self, argv: list[str]) -> dict[str, float]:
        if len(self.calls) == self.fail_at:
            raise self.error
        self.calls.append(argv)
        if flag(argv, "-m") == "train":
            Path(flag(argv, "-p")).mkdir(parents=True, exist_ok=True)
            return self.train(Path(flag(argv, "-p")), argv)
        return self.test(Path(flag(argv, "-e")))

    def train(self, folder: Path, argv: list[str]) -> dict[str, float]:
        task = flag(argv, "-d")
        (folder / "task").write_text(task)
        for step in (250, 1000, 500):
            (folder / f"states-{step}.ckpt").touch()
        if self.best:
            (folder / BEST[task]).touch()
        return {f"{task}/train-loss": 1.0}

    def test(self, past: Path) -> dict[str, float]:
        return SCORES[((past if past.is_dir() else past.parent) / "task").read_text()]

    def modes(self) -> list[tuple[str, str]]:
        """(mode, folder) of each call."""
        return [
            ("train", "/".join(Path(flag(argv, "-p")).parts[-2:]))
            if flag(argv, "-m") == "train"
            else ("evaluate", flag(argv, "-e"))
            for argv in self.calls
        ]

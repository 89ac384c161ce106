"""SUPERB's tasks that are run here: their names in s3prl, their configs and what they are judged by."""

from dataclasses import dataclass

from ..errors import FitHubertError


@dataclass(frozen=True)
class Task:
    """A SUPERB task.

    Attributes
    ----------
    key, title : str
        Such as "ks" and "Keyword spotting".
    downstream : str
        s3prl's -d.
    tag : str
        What s3prl logs the result under, with {split} in it.
    split : str
        The split of the published results.
    best : str
        The checkpoint that the dev set chose.
    metric : str
        In percent once multiplied by `scale`.
    higher_is_better : bool
    """

    key: str
    title: str
    downstream: str
    tag: str
    split: str
    best: str
    metric: str
    scale: float
    higher_is_better: bool = False

    def result(self, scalars: dict[str, float], split: str | None = None) -> float:
        """The task's result in percent, out of what a run logged."""
        return self.scale * scalars[self.tag.format(split=split or self.split)]


PR = Task("pr", "Phone recognition", "ctc", "ctc-libriphone/{split}-per", "test", "dev-best.ckpt", "PER %", 100)
ASR = Task("asr", "Speech recognition", "asr", "asr/{split}-wer", "test-clean", "dev-clean-best.ckpt", "WER %", 1)
KS = Task(
    "ks",
    "Keyword spotting",
    "speech_commands",
    "speech_commands/{split}-acc",
    "test",
    "dev-best.ckpt",
    "acc %",
    100,
    True,
)
SV = Task(
    "sv", "Speaker verification", "sv_voxceleb1", "sv-voxceleb1/{split}-EER", "test", "dev-best.ckpt", "EER %", 100
)
TASKS = {task.key: task for task in (PR, ASR, KS, SV)}


def task_of(downstream: str) -> Task:
    """The task of a `-d` name.

    Raises
    ------
    FitHubertError
        It is none of SUPERB's that are known here.
    """
    for task in TASKS.values():
        if task.downstream == downstream:
            return task
    known = ", ".join(task.downstream for task in TASKS.values())
    raise FitHubertError(f"-d {downstream}: expected one of {known}, whose result is known; found another task")

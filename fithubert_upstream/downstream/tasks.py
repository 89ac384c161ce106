"""SUPERB's tasks that are run here: their names in s3prl, their corpora and what they are judged by."""

from dataclasses import dataclass, replace

from ..compat.s3prl_experts import UNTRAINED
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
    corpus : str
        The environment variable that the packaged configs use for the corpus.
    tag : str
        What s3prl logs the result under, with {split} in it.
    metric : str
        In percent once multiplied by `scale`.
    scale : float
    higher_is_better : bool
    split : str
        The split of the published results.
    dev : str
        The split that chooses.
    best : str
        The checkpoint that it chose.
    folds : int
        Runs of a cross-validation, over which SUPERB takes the mean.
    """

    key: str
    title: str
    downstream: str
    corpus: str
    tag: str
    metric: str
    scale: float = 100
    higher_is_better: bool = False
    split: str = "test"
    dev: str = "dev"
    best: str = "dev-best.ckpt"
    folds: int = 1

    @property
    def trains(self) -> bool:
        """Whether anything is trained; else the upstream's layers are compared on dev."""
        return self.downstream not in UNTRAINED

    def result(self, scalars: dict[str, float], split: str | None = None) -> float:
        """The task's result in percent, out of what a run logged."""
        return self.scale * scalars[self.tag.format(split=split or self.split)]

    def fold(self, number: int) -> "Task":
        """The task of one fold, counted from 1: s3prl logs the fold's number."""
        return replace(self, tag=self.tag.replace("{fold}", str(number)))


PR = Task("pr", "Phone recognition", "ctc", "LIBRISPEECH", "ctc-libriphone/{split}-per", "PER %")
ASR = Task(
    "asr",
    "Speech recognition",
    "asr",
    "LIBRISPEECH",
    "asr/{split}-wer",
    "WER %",
    scale=1,
    split="test-clean",
    dev="dev-clean",
    best="dev-clean-best.ckpt",
)
KS = Task(
    "ks",
    "Keyword spotting",
    "speech_commands",
    "SPEECH_COMMANDS",
    "speech_commands/{split}-acc",
    "acc %",
    higher_is_better=True,
)
SV = Task("sv", "Speaker verification", "sv_voxceleb1", "VOXCELEB1", "sv-voxceleb1/{split}-EER", "EER %")
IC = Task(
    "ic",
    "Intent classification",
    "fluent_commands",
    "FLUENT_COMMANDS",
    "fluent_commands/{split}-acc",
    "acc %",
    higher_is_better=True,
)
SID = Task(
    "sid",
    "Speaker identification",
    "voxceleb1",
    "VOXCELEB1",
    "voxceleb1/{split}-acc",
    "acc %",
    higher_is_better=True,
)
ER = Task(
    "er",
    "Emotion recognition",
    "emotion",
    "IEMOCAP",
    "emotion-fold{fold}/{split}-acc",
    "acc %",
    higher_is_better=True,
    folds=5,
)
QBE = Task(
    "qbe", "Query by example", "quesst14_dtw", "QUESST14", "quesst14_dtw/{split}-mtwv", "MTWV %", higher_is_better=True
)
TASKS = {task.key: task for task in (PR, ASR, KS, SV, IC, SID, ER, QBE)}


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

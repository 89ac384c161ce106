"""SUPERB's tasks that are run here: their names in s3prl, their corpora and what they are judged by."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..compat.s3prl_experts import UNTRAINED
from ..errors import FitHubertError


@dataclass(frozen=True)
class Number:
    """A further number of a task, beside the one that chooses.

    Attributes
    ----------
    tag, metric, scale
        As those of `Task`.
    """

    tag: str
    metric: str
    scale: float = 100


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
    dev_tag : str
        What the result on `dev` is logged under, where that is not `tag`.
    best : str
        The checkpoint that it chose.
    folds : int
        Runs of a cross-validation, over which SUPERB takes the mean.
    corpus_name : str
        The config's `corpus.name`, by which tasks of one `downstream` are told apart; "" where there is one.
    more : dict
        Key of `superb.metrics.METRICS` -> a further number.
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
    dev_tag: str = ""
    best: str = "dev-best.ckpt"
    folds: int = 1
    corpus_name: str = ""
    more: Mapping[str, Number] = field(default_factory=dict, hash=False)

    @property
    def trains(self) -> bool:
        """Whether anything is trained; else the upstream's layers are compared on dev."""
        return self.downstream not in UNTRAINED

    def result(self, scalars: dict[str, float], split: str | None = None) -> float:
        """The task's result in percent, out of what a run logged."""
        return self.scale * scalars[self.tag_of(split or self.split)]

    def tag_of(self, split: str) -> str:
        """What the result on a split is logged under; both ways, the same direction is better."""
        return (self.dev_tag if self.dev_tag and split == self.dev else self.tag).format(split=split)

    def further(self, scalars: dict[str, float], split: str | None = None) -> dict[str, float]:
        """Those of `more` that a run logged, in percent."""
        tags = {key: number.tag.format(split=split or self.split) for key, number in self.more.items()}
        return {key: self.more[key].scale * scalars[tag] for key, tag in tags.items() if tag in scalars}

    def fold(self, number: int) -> "Task":
        """The task of one fold, counted from 1: s3prl logs the fold's number."""
        return replace(self, tag=self.tag.replace("{fold}", str(number)))


PR = Task(
    "pr",
    "Phone recognition",
    "ctc",
    "LIBRISPEECH",
    "ctc-libriphone/{split}-per",
    "PER %",
    corpus_name="libriphone",
)
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
SF = Task(
    "sf",
    "Slot filling",
    "ctc",
    "AUDIO_SNIPS",
    "ctc-snips/{split}-slot_type_f1",
    "F1 %",
    higher_is_better=True,
    corpus_name="snips",
    more={"sf_cer": Number("ctc-snips/{split}-slot_value_cer", "CER %")},
)
SD = Task(
    "sd",
    "Speaker diarization",
    "diarization",
    "LIBRIMIX",
    "diarization/{split}-rttm-der",  # which `downstream.scoring` scores; s3prl's own is of frames and chunks
    "DER %",
    dev_tag="diarization/{split}-der",
    best="best-states-dev.ckpt",
)
QBE = Task(
    "qbe", "Query by example", "quesst14_dtw", "QUESST14", "quesst14_dtw/{split}-mtwv", "MTWV %", higher_is_better=True
)
TASKS = {task.key: task for task in (PR, ASR, KS, SV, IC, SID, ER, SF, SD, QBE)}


def corpus_name(config: Mapping[str, Any] | None) -> str:
    """The `corpus.name` of a config in small letters, as s3prl compares it; "" where it has none."""
    expert = (config or {}).get("downstream_expert")
    corpus = expert.get("corpus") if isinstance(expert, Mapping) else None
    return str(corpus.get("name", "")).lower() if isinstance(corpus, Mapping) else ""


def downstream_names() -> list[str]:
    """s3prl's -d of all tasks, once each."""
    return list(dict.fromkeys(task.downstream for task in TASKS.values()))


def task_of(downstream: str, config: Mapping[str, Any] | None = None) -> Task:
    """The task of a `-d` name; of one that means several, by the corpus of its config.

    Raises
    ------
    FitHubertError
        It is none of SUPERB's that are known here.
    """
    found = [task for task in TASKS.values() if task.downstream == downstream]
    for task in found:
        if task.corpus_name in ("", corpus_name(config)):
            return task
    if found:
        names = ", ".join(task.corpus_name for task in found)
        raise FitHubertError(
            f"-d {downstream}: expected config.downstream_expert.corpus.name to be one of {names}, whose result is "
            f"known; found {corpus_name(config) or 'none'}"
        )
    known = ", ".join(downstream_names())
    raise FitHubertError(f"-d {downstream}: expected one of {known}, whose result is known; found another task")

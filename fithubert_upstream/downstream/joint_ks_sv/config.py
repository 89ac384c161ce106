"""What a joint run is made of: the `downstream_expert` block of `joint_ks_sv.yaml`, as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ...corpora.layouts.speech_commands import TEST_CLASSES
from ...errors import FitHubertError
from ...settings.files import from_dict

TASKS = ("ks", "sv")


@dataclass(frozen=True)
class Speakers:
    """Who is in which split of a corpus of the kind `words`: names of folders."""

    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = []
        for f in fields(self):
            split = getattr(self, f.name)
            if not split:
                raise FitHubertError(f"expected a list of speakers as {f.name}, found none")
            names += split
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FitHubertError(f"expected each speaker in one split, found {', '.join(twice)} in more")


@dataclass(frozen=True)
class KeywordConfig:
    """Keyword spotting.

    `corpus`: `speech_commands` (version 0.01 in `root`, its test set in `test_root`) or `words` (`root` holds
    `speaker/word-take.flac` or .wav, split by `speakers`). A word that is not in `classes` counts as `_unknown_`, if
    that is there. Longer clips are cut to `crop_seconds` at random places in training; 0 leaves them whole.
    """

    corpus: str = "speech_commands"
    root: str = ""
    test_root: str = ""
    classes: tuple[str, ...] = TEST_CLASSES
    speakers: Speakers | None = None
    batch_size: int = 32
    crop_seconds: float = 1.0

    def __post_init__(self) -> None:
        _expect_choice("corpus", self.corpus, ("speech_commands", "words"))
        _expect_speakers(self)
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise FitHubertError(f"expected two different classes or more, found {', '.join(self.classes) or 'none'}")
        _expect_sizes(self)


@dataclass(frozen=True)
class SpeakerLossConfig:
    """`angular_softmax` (A-softmax, a whole `margin` that multiplies the angle) or `am_softmax` (an additive one).

    A-softmax begins as a plain softmax: after t updates the target's logit is (lambda cos + psi) / (lambda + 1) with
    lambda = max(lambda_min, lambda_max / (1 + 0.1 t)). `scale` belongs to AM-softmax. The paper gives none of these.
    """

    name: str = "angular_softmax"
    margin: float = 4.0
    lambda_max: float = 1000.0
    lambda_min: float = 5.0
    scale: float = 30.0

    def __post_init__(self) -> None:
        _expect_choice("loss.name", self.name, ("angular_softmax", "am_softmax"))
        for name in ("margin", "lambda_max", "lambda_min", "scale"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise FitHubertError(f"expected loss.{name} of at least 0, found {getattr(self, name)}")
        if self.name == "angular_softmax" and (self.margin < 1 or self.margin != int(self.margin)):
            raise FitHubertError(
                f"expected loss.margin, a whole number from 1 on, for angular_softmax, found {self.margin}"
            )


@dataclass(frozen=True)
class SpeakerConfig:
    """Speaker verification.

    `corpus`: `voxceleb1` (`root` holds dev/wav and test/wav) or `words` (as in `KeywordConfig`). `trials` is the list
    of the test, lines `label path path`; of those of a corpus `words` the ones count whose speakers are of the split.
    `dev_trials` is such a list; where it is empty, `drawn_trials` pairs are drawn from the dev speakers: with
    voxceleb1 `dev_speakers` of the training part, who then are not trained on.
    """

    corpus: str = "voxceleb1"
    root: str = ""
    trials: str = ""
    dev_trials: str = ""
    dev_speakers: int = 40
    drawn_trials: int = 4000
    speakers: Speakers | None = None
    batch_size: int = 32
    crop_seconds: float = 3.0
    embedding_dim: int = 256
    loss: SpeakerLossConfig = field(default_factory=SpeakerLossConfig)

    def __post_init__(self) -> None:
        _expect_choice("corpus", self.corpus, ("voxceleb1", "words"))
        _expect_speakers(self)
        _expect_sizes(self)


@dataclass(frozen=True)
class JointConfig:
    """The tasks in the order of their updates, and what each is made of.

    `trim_db`: silence at both ends of a clip, so much below its loudest 10 ms, is cut off; 0 keeps it.
    """

    tasks: tuple[str, ...] = TASKS
    ks: KeywordConfig = field(default_factory=KeywordConfig)
    sv: SpeakerConfig = field(default_factory=SpeakerConfig)
    num_workers: int = 0
    trim_db: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_workers", "trim_db"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise FitHubertError(f"expected {name} of at least 0, found {getattr(self, name)}")
        tasks = list(self.tasks)
        if not tasks or len(set(tasks)) != len(tasks) or not set(tasks) <= set(TASKS):
            raise FitHubertError(f"expected tasks [ks, sv], [ks] or [sv], found {tasks}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "downstream_expert") -> "JointConfig":
        """Raises FitHubertError, which names the key, when something is unknown or not what it should be."""
        return from_dict(cls, data, where)


def _expect_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise FitHubertError(f"expected {name} {' or '.join(choices)}, found {value}")


def _expect_speakers(config: KeywordConfig | SpeakerConfig) -> None:
    if config.corpus == "words" and config.speakers is None:
        raise FitHubertError("expected speakers, with lists train, dev and test, for corpus words, found none")


def _expect_sizes(config: KeywordConfig | SpeakerConfig) -> None:
    if not config.root:
        raise FitHubertError("expected root, the folder of the corpus, found none")
    for name in ("batch_size", "embedding_dim", "dev_speakers", "drawn_trials"):
        if getattr(config, name, 1) < 1:
            raise FitHubertError(f"expected {name} of at least 1, found {getattr(config, name)}")
    if not 0 <= config.crop_seconds < float("inf"):
        raise FitHubertError(f"expected crop_seconds of at least 0, found {config.crop_seconds}")

"""s3prl's datasets for any corpus in their layout: names may hold dots, suffixes stand in capitals, folders be links.

Each utterance keeps its own name in the files of results.

Each reads the very files that `fithubert check` counts. The classes are at the top of a module, so that workers of a
data loader find them however they are started.
"""

import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import torch

from ...audio.decode import read_audio
from ...audio.walk import audio_in, find_audio, folders_in
from ...audio.waveforms import load_waveform
from ...compat.runs import replaced
from ...compat.s3prl import apply
from ...corpora.layouts.fluent_commands import SLOTS, read_table
from ...corpora.layouts.librispeech import read_transcript, transcript_name, utterance_name
from ...corpora.layouts.speech_commands import BACKGROUND, speech_commands_clips, speech_commands_part
from ...corpora.layouts.voxceleb1 import FIRST_SPEAKER, SPEAKERS, read_identification
from ..sv import trimmed_lengths

apply()  # without it they do not import

from s3prl.downstream.asr.dataset import SequenceDataset  # noqa: E402
from s3prl.downstream.emotion.dataset import IEMOCAPDataset  # noqa: E402
from s3prl.downstream.fluent_commands.dataset import FluentCommandsDataset  # noqa: E402
from s3prl.downstream.speech_commands.dataset import (  # noqa: E402
    SpeechCommandsBaseDataset,
    SpeechCommandsDataset,
    SpeechCommandsTestingDataset,
)
from s3prl.downstream.sv_voxceleb1.dataset import SpeakerVerifi_train  # noqa: E402
from s3prl.downstream.voxceleb1.dataset import SpeakerClassifiDataset  # noqa: E402

TASKS = ("asr", "ctc", "speech_commands", "sv_voxceleb1", "fluent_commands", "voxceleb1", "emotion", "diarization")


@contextlib.contextmanager
def own_datasets(downstream: str) -> Iterator[None]:
    """Let s3prl's expert of one of `TASKS` build these datasets, in the block."""
    with contextlib.ExitStack() as stack:
        if downstream == "asr":
            from s3prl.downstream.asr import expert

            stack.enter_context(replaced(expert, "SequenceDataset", Utterances))
        elif downstream == "ctc":
            from s3prl.downstream.ctc import data

            stack.enter_context(replaced(data, "collect_audio_batch", collect_utterances))
        elif downstream == "speech_commands":
            from s3prl.downstream.speech_commands import expert

            stack.enter_context(replaced(expert, "split_dataset", split_clips))
            stack.enter_context(replaced(expert, "SpeechCommandsDataset", TrainingClips))
            stack.enter_context(replaced(expert, "SpeechCommandsTestingDataset", TestClips))
        elif downstream == "sv_voxceleb1":
            from s3prl.downstream.sv_voxceleb1 import expert

            stack.enter_context(replaced(expert, "SpeakerVerifi_train", SpeakerClips))
            stack.enter_context(named_trials(expert.DownstreamExpert))
        elif downstream == "fluent_commands":
            from s3prl.downstream.fluent_commands import expert

            stack.enter_context(replaced(expert, "pd", SimpleNamespace(read_csv=intents_table)))
            stack.enter_context(replaced(expert, "FluentCommandsDataset", Intents))
        elif downstream == "voxceleb1":
            from s3prl.downstream.voxceleb1 import expert

            stack.enter_context(replaced(expert, "SpeakerClassifiDataset", IdentifiedClips))
        elif downstream == "emotion":
            from s3prl.downstream.emotion import expert

            stack.enter_context(replaced(expert, "IEMOCAPDataset", Emotions))
        elif downstream == "diarization":
            from s3prl.downstream.diarization import expert

            from .diarization import repaired

            stack.enter_context(repaired(expert))
        yield


class Utterances(SequenceDataset):
    """Speech recognition's utterances, known by their paths below the corpus.

    s3prl's own knows them by what stands before the first dot of their name: with `1-7-0001.take2.flac`, or
    `7/0001.flac` beside `8/0001.flac`, utterances were lost or scored against another's words. It also drops a last
    batch of one utterance.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        batched = {name for batch in self.X for name in batch}
        self.X += [[name] for name in sorted(self.Y.keys() - batched)]

    def _parse_x_name(self, x: str) -> str:
        return x

    def _load_wav(self, wav_path: str) -> torch.Tensor:
        return load_waveform(Path(self.libri_root, wav_path))

    def __getitem__(self, index: int) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
        waveforms, labels, _ = super().__getitem__(index)
        return waveforms, labels, [utterance_name(Path(self.libri_root, name)) for name in self.X[index]]

    def _load_transcript(self, x_list: list[str]) -> dict[str, str]:
        root, transcripts = Path(self.libri_root), {}
        for chapter in sorted({Path(root, name).parent for name in x_list}):
            for line in read_transcript(chapter / transcript_name(chapter)):
                if line.audio is not None:  # letters with spaces between, words end with |
                    name = line.audio.relative_to(root).as_posix()
                    transcripts[name] = " ".join("|".join(line.words)) + " |"
        return transcripts


def collect_utterances(
    batch: Sequence, split: str, half_batch_size_wav_len: int = 300_000
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """A batch of phone recognition or slot filling: waveforms, longest first, their tokens and their names.

    s3prl's own cuts names at their first dot; here they come with the utterance, or are those of LibriSpeech. As there,
    a batch to train on whose first utterance is longer than `half_batch_size_wav_len` samples is cut in half.
    """
    items = batch if isinstance(batch[0], tuple) else batch[0]  # with buckets, an item is a list of utterances
    if split == "train" and len(items) > 1 and len(_samples(items[0][0])) > half_batch_size_wav_len:
        items = items[: len(items) // 2]
    named = [(file, tokens, name[0] if name else utterance_name(Path(file))) for file, tokens, *name in items]
    read = sorted(((_samples(file), *rest) for file, *rest in named), key=lambda one: len(one[0]), reverse=True)
    waveforms, tokens, names = zip(*read, strict=True)
    return list(waveforms), [np.array(one) for one in tokens], list(names)


def _samples(file: str | Path) -> np.ndarray:
    return read_audio(file).samples.T.reshape(-1)


def split_clips(root: str | Path) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """(word, clip) for training and for dev, each speaker in one of them."""
    parts: dict[str, list[tuple[str, Path]]] = {"train": [], "dev": [], "left out": []}
    for word, clip in speech_commands_clips(root):
        parts[speech_commands_part(clip)].append((word, clip))
    return parts["train"], parts["dev"]


class TrainingClips(SpeechCommandsDataset):
    """Keyword spotting's clips to train on and to choose by, and the background noise."""

    def __init__(self, data_list: list[tuple[str, Path]], **kwargs):
        SpeechCommandsBaseDataset.__init__(self)
        self.data = [(word if word in self.class2index else "_unknown_", clip) for word, clip in data_list]
        self.data += [("_silence_", file) for file in audio_in(Path(kwargs["speech_commands_root"], BACKGROUND))]
        counts = Counter(word for word, _ in self.data)
        self.sample_weights = [len(self.data) / counts[word] for word, _ in self.data]


class TestClips(SpeechCommandsTestingDataset):
    """Keyword spotting's test set."""

    def __init__(self, **kwargs):
        SpeechCommandsBaseDataset.__init__(self)
        self.data = speech_commands_clips(kwargs["speech_commands_test_root"])


class SpeakerClips(SpeakerVerifi_train):
    """Speaker verification's utterances to train on.

    s3prl's own keeps their lengths inside site-packages, under one name for every corpus, so that a second corpus gets
    the list of the first.
    """

    def __init__(self, vad_config, key_list, file_path, meta_data, max_timestep=None, n_jobs=12):
        self.roots, self.root_key, self.vad_c = file_path, key_list, vad_config
        self.max_timestep = max_timestep
        paths = [str(path) for root in file_path for path in find_audio(Path(root).absolute())]
        lengths = trimmed_lengths(paths)
        self.dataset = [path for path, n in zip(paths, lengths, strict=True) if n > vad_config["min_sec"]]
        self.all_speakers = sorted(folder.name for root in file_path for folder in folders_in(root))
        self.speaker_num = len(self.all_speakers)


@contextlib.contextmanager
def named_trials(expert: type) -> Iterator[None]:
    """Let speaker verification score each split by its own trials, and write their names and labels, in the block.

    s3prl's own scores the dev split by the test's trials, cuts names at their first dot, and writes no labels.
    """

    def log_records(self, mode, records, *args, **kwargs):
        split = self.dev_dataset if mode == "dev" else self.test_dataset
        with replaced(self, "test_dataset", split):
            saved = as_in_s3prl(self, mode, records, *args, **kwargs)
        if mode != "train":
            trials = split.pair_table
            pairs = [f"{_clip_name(one)}_{_clip_name(other)}" for _, one, other in trials]
            labels = [label for label, _, _ in trials]
            for name, values in (("predict", records["scores"]), ("truth", labels)):
                lines = (f"{pair} {value}\n" for pair, value in zip(pairs, values, strict=True))
                Path(self.expdir, f"{mode}_{name}.txt").write_text("".join(lines), encoding="utf-8")
        return saved

    as_in_s3prl = expert.log_records
    with replaced(expert, "log_records", log_records):
        yield


def _clip_name(path: str) -> str:
    """`SPEAKER-SESSION-NUMBER`"""
    return "-".join((*Path(path).parts[-3:-1], Path(path).stem))


def intents_table(path: str) -> pandas.DataFrame:
    """A table of intent classification as the check reads it; pandas would make numbers and NaN of some words."""
    return pandas.DataFrame(read_table(path))


class Intents(FluentCommandsDataset):
    """Intent classification's utterances."""

    def __init__(self, df: pandas.DataFrame, base_path: str, Sy_intent: dict[str, dict]):
        super().__init__(df, base_path, Sy_intent)
        stems = Counter(Path(path).stem for path in df["path"])
        self.names = [Path(path).stem for path in df["path"]]
        if stems.most_common(1)[0][1] > 1:  # the folders tell them apart
            self.names = ["-".join(Path(path).with_suffix("").parts) for path in df["path"]]

    def __getitem__(self, idx: int) -> tuple[np.ndarray, np.ndarray, str]:
        row = self.df.loc[idx]
        label = np.array([self.Sy_intent[slot][row[slot]] for slot in SLOTS])
        return load_waveform(Path(self.base_path, row.path)).numpy(), label, self.names[idx]


class IdentifiedClips(SpeakerClassifiDataset):
    """Speaker identification's utterances.

    s3prl's own pickles their list inside site-packages, under the split's name alone, so that a second corpus gets the
    list of the first.
    """

    def __init__(self, mode: str, file_path: str | Path, meta_data: str, max_timestep: int | None = None):
        self.root, self.meta_data, self.max_timestep = Path(file_path), meta_data, max_timestep
        self.speaker_num = SPEAKERS
        self.dataset = [str(file) for file in read_identification(file_path, meta_data)[mode]]
        self.label = [int(Path(file).parts[-3].removeprefix("id")) - FIRST_SPEAKER for file in self.dataset]

    def __getitem__(self, idx: int) -> tuple[np.ndarray, int, str]:
        waveform = load_waveform(self.dataset[idx]).numpy()
        if self.max_timestep is not None and len(waveform) > self.max_timestep:
            start = random.randint(0, len(waveform) - self.max_timestep)
            waveform = waveform[start : start + self.max_timestep]
        return waveform, self.label[idx], _clip_name(self.dataset[idx])


class Emotions(IEMOCAPDataset):
    """Emotion recognition's utterances, which the check knows to have 16 kHz; s3prl's own asks the first for all."""

    def __init__(self, data_dir: str, meta_path: str, pre_load: bool = True):
        self.data_dir, self.pre_load = data_dir, pre_load
        self.data = json.loads(Path(meta_path).read_text(encoding="utf-8"))
        self.class_dict, self.meta_data = self.data["labels"], self.data["meta_data"]
        self.idx2emotion = {value: key for key, value in self.class_dict.items()}
        self.class_num = len(self.class_dict)
        if pre_load:
            self.wavs = self._load_all()

    def _load_wav(self, path: str) -> torch.Tensor:
        return load_waveform(Path(self.data_dir, path))

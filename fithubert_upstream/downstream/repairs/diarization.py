"""s3prl's speaker diarization for any corpus in Kaldi's folders, and its result as SUPERB publishes it."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...audio import SAMPLE_RATE
from ...audio.decode import read_audio
from ...compat.runs import replaced
from ...compat.s3prl import apply
from ...corpora.layouts.librimix import REFERENCE, read_kaldi, read_rttm
from ..scoring.diarization import score
from ..tasks import SD

apply()  # without it they do not import

from s3prl.downstream.diarization import dataset  # noqa: E402

SHORTEST = 1600  # samples: of the rest of a recording behind its last whole chunk, one frame may be left


class Tables:
    """What s3prl's dataset reads in a Kaldi folder, here as the check reads it.

    s3prl's own runs a path that ends with | as a command, takes paths from the folder of the command, and of two
    utterances of one name gives both to the second's speaker.
    """

    def __init__(self, folder: str | Path):
        recordings = read_kaldi(folder)
        self.wavs = {name: str(recording.audio) for name, recording in recordings.items()}
        self.reco2dur = {name: recording.seconds for name, recording in recordings.items()}
        self.turns = {name: recording.turns for name, recording in recordings.items()}


class Conversations(dataset.DiarizationDataset):
    """Speaker diarization's chunks of recordings.

    s3prl's own leaves out speech that begins before a chunk and ends behind it, and gives upstreams a rest of a
    recording that is shorter than their windows.
    """

    def __init__(self, mode: str, data_dir: str, **kwargs):
        with replaced(dataset, "KaldiData", Tables):
            super().__init__(mode, data_dir, **kwargs)

    def _get_labeled_speech(self, rec: str, start: int, end: int, n_speakers: int) -> tuple[np.ndarray, np.ndarray]:
        """(T,) samples, and (L, S) 1 where a speaker speaks; L = end - start frames. Speakers by their names."""
        shift = self.frame_shift
        samples = read_audio(self.data.wavs[rec], start=start * shift, count=(end - start) * shift).samples[:, 0]
        turns = self.data.turns[rec]
        speakers = sorted({turn.speaker for turn in turns})
        labels = np.zeros((end - start, n_speakers), dtype=np.int32)
        for turn in turns:
            first, last = (round(seconds * SAMPLE_RATE / shift) - start for seconds in (turn.start, turn.end))
            labels[max(first, 0) : max(last, 0), speakers.index(turn.speaker)] = 1
        return np.pad(samples, (0, max(0, SHORTEST - len(samples)))), labels


@contextlib.contextmanager
def repaired(expert: Any) -> Iterator[None]:
    """Let s3prl's module `expert` read `Conversations` and log `SD`'s result on the test, in the block.

    Its loaders ask for pinned memory, which torch warns of on a machine without a GPU.
    """

    def log_records(self, mode, records, logger, global_step, *args, **kwargs):
        saved = as_in_s3prl(self, mode, records, logger, global_step, *args, **kwargs)
        if mode == SD.split:
            best, *_ = score(
                predictions(self, len(records["loss"])),
                read_rttm(Path(self.loaderrc[f"{mode}_dir"], REFERENCE)),
                self.datarc["frame_shift"],
                self.score_dir,
            )
            logger.add_scalar(SD.tag_of(mode), best.der, global_step=global_step)
            print(
                f"DER {100 * best.der:.2f} % of turns, the lowest of ten ways to decide: threshold {best.threshold}, "
                f"median of {best.median}; all are in {self.score_dir}"
            )
        return saved

    as_in_s3prl = expert.DownstreamExpert.log_records
    with (
        warnings.catch_warnings(),
        replaced(expert, "DiarizationDataset", Conversations),
        replaced(expert.DownstreamExpert, "log_records", log_records),
    ):
        warnings.filterwarnings("ignore", message=".*'pin_memory' argument is set as true")
        yield


def predictions(expert: Any, count: int) -> dict[str, np.ndarray]:
    """Recording -> (L, S) probabilities of the first `count` of the test, which this evaluation has written.

    s3prl pads the last chunk to the length of the others and writes what the head says there too; that is cut off.
    """
    import h5py

    found = {}
    for name in expert.test_dataset.rec_list[:count]:
        frames = sum(end - start for _, start, end in expert.test_dataset.chunk_indices[name])
        with h5py.File(Path(expert.score_dir, "predictions", f"{name}.h5"), "r") as file:
            found[name] = file["T_hat"][:frames]
    return found

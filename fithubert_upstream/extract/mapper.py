"""Features as a column of a Hugging Face dataset."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np

from ..audio.decode import read_speech, to_speech
from ..errors import FitHubertError
from ..runs.workers import available_cores
from .encoders import Encoder, encode_each, identify, open_encoder
from .selection import Selection, name_upstream


class FeatureMapper:
    """A function for `datasets.Dataset.map` that adds an upstream's features to rows with audio.

    `dataset.map(FeatureMapper("fithubert_mini"), batched=True)` adds a column `features`, (L, D) of each row. Rows may
    hold what `datasets` decodes, (`{"array", "sampling_rate"}` or an `AudioDecoder`), what it does not decode
    (`{"bytes", "path"}`, as after `dataset.cast_column("audio", Audio(decode=False))`, which needs no torchcodec), or
    the path of a file; of any rate and number of channels.

    Parameters
    ----------
    upstream : str
        What `fithubert extract -u` takes: a name, or the path of a checkpoint.
    layer : int, "all" or None
        Entry of `hidden_states`, from 0; all of them, (N, L, D); or None for `last_hidden_state`.
    pool : "mean" or None
        The mean over the frames, (D,), in place of the frames.
    audio, features : str
        Names of the columns.
    device : str, optional
        Default: cuda where there is a GPU.
    workers : int, optional
        Threads; default: one for each core. 1 beside `num_proc`.

    Raises
    ------
    FitHubertError
        The upstream's name is not one; when called: it cannot be built, or audio cannot be decoded.
    """

    def __init__(
        self,
        upstream: str = "fithubert_mini",
        layer: int | str | None = None,
        pool: str | None = None,
        audio: str = "audio",
        features: str = "features",
        device: str | None = None,
        workers: int | None = None,
    ):
        self.upstream, self.selection = name_upstream(upstream), Selection(layer, pool)
        self.audio, self.features = audio, features
        self.device, self.workers = device, workers
        # `datasets` takes what it kept of an earlier map where this object is the same, so another file must not be
        self.identity = identify(self.upstream, self.selection)
        self._encoder: Encoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_encoder": None}

    @property
    def encoder(self) -> Encoder:
        """Built when it is first needed, in each process."""
        if self._encoder is None:
            self._encoder = open_encoder(self.upstream, self.selection, self.device)
        return self._encoder

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """The new column of a batch of rows (`batched=True`), or of one row.

        Raises
        ------
        FitHubertError
            There is no such column, or what it holds is no audio, or not decodable.
        """
        if self.audio not in rows:
            raise FitHubertError(f"expected a column {self.audio!r} with audio, found {', '.join(rows)}; name it")
        values = rows[self.audio]
        if not isinstance(values, list):
            return {self.features: self.encode([values])[0]}
        return {self.features: self.encode(values)}

    def encode(self, values: Sequence[Any]) -> list[np.ndarray]:
        """Features of each. Raises as a call."""
        results = self.attempt(values)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results  # type: ignore[return-value]

    def attempt(self, values: Sequence[Any]) -> list[np.ndarray | Exception]:
        """Features of each, or why there are none."""
        encoder = self.encoder
        with encoder.running(), ThreadPoolExecutor(self.workers or available_cores()) as pool:
            if encoder.parallel:
                return list(pool.map(lambda value: _features(encoder, [_speech(value)])[0], values))
            return _features(encoder, list(pool.map(_speech, values)))


def _features(encoder: Encoder, waveforms: list[np.ndarray | Exception]) -> list[np.ndarray | Exception]:
    found = iter(encode_each(encoder, [wav for wav in waveforms if isinstance(wav, np.ndarray)]))
    results = [next(found) if isinstance(wav, np.ndarray) else wav for wav in waveforms]
    return [result if isinstance(result, Exception) else result[0] for result in results]


def _speech(value: Any) -> np.ndarray | Exception:
    try:
        return speech_of(value)
    except Exception as error:  # whatever it raises, it is told with the row
        return error


def speech_of(value: Any) -> np.ndarray:
    """(T,) float32 samples at 16 kHz of what a row holds. Raises FitHubertError."""
    if isinstance(value, str):
        return read_speech(value)[0]
    if isinstance(value, Mapping) and value.get("array") is not None:
        return _mono(value["array"], value["sampling_rate"])
    if isinstance(value, Mapping) and value.get("bytes") is not None:
        return read_speech(BytesIO(value["bytes"]))[0]
    if isinstance(value, Mapping) and value.get("path") is not None:
        return read_speech(value["path"])[0]
    if hasattr(value, "get_all_samples"):  # torchcodec's
        samples = value.get_all_samples()
        return _mono(samples.data.numpy(), samples.sample_rate)
    raise FitHubertError(f"expected audio as `datasets` gives it, found {type(value).__name__}")


def _mono(array: Any, rate: float) -> np.ndarray:
    """(T,) or (C, T) -> (T',) at 16 kHz."""
    samples = np.atleast_2d(np.asarray(array, dtype=np.float32)).T  # (T, C)
    if samples.size == 0 or not np.isfinite(samples).all():
        found = "NaN or infinite samples" if samples.size else "none"
        raise FitHubertError(f"a recording in memory: expected samples, found {found}")
    return to_speech(samples, rate)

"""lhotse's recordings, decoded in the one place that does it: errors name the file, a missing length is found."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from ..audio.decode import header, read_audio
from ..errors import FitHubertError, from_extra

with from_extra("distill", "a lhotse cuts file"):
    from lhotse.audio.backend import AudioBackend, get_current_audio_backend, set_current_audio_backend
    from lhotse.serialization import open_best
    from lhotse.utils import compute_num_samples


class Decoder(AudioBackend):
    """Reads files by `decode.read_audio`."""

    def read_audio(
        self,
        path_or_fd,
        offset: float = 0.0,
        duration: float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[np.ndarray, int]:
        source = path_or_fd
        if isinstance(source, str | Path) and ".tar/" in str(source):  # a member of an archive
            source = open_best(source, "rb")
        if not isinstance(source, str | Path | BytesIO):
            source = BytesIO(source.read())
        _, rate, _ = header(source)
        count = None if duration is None else compute_num_samples(duration, rate)
        audio = read_audio(source, start=compute_num_samples(offset, rate), count=count)
        return audio.samples.T, audio.rate


@contextlib.contextmanager
def own_decoder() -> Iterator[None]:
    """Let lhotse decode by `Decoder` in the block, and raise our errors as they were, in one line."""
    before = get_current_audio_backend()
    set_current_audio_backend(Decoder())
    try:
        yield
    except FitHubertError as error:  # lhotse adds lines of its own
        raise FitHubertError(str(error).splitlines()[0]) from None
    finally:
        set_current_audio_backend(before)

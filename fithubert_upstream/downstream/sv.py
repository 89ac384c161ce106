"""Speaker verification's utterances after its effects: how long silence trimming leaves them."""

from pathlib import Path

from ..audio.scan import scan
from ..audio.sox import apply_effects_file
from ..audio.walk import find_audio
from ..errors import FitHubertError

# s3prl's chain for VoxCeleb1 (downstream/sv_voxceleb1/dataset.py)
EFFECTS = [
    ["channels", "1"],
    ["rate", "16000"],
    ["gain", "-3.0"],
    ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"],
]
# The x-vector's convolutions take 14 frames away, and a standard deviation needs 2: at 20 ms, 400 + 15 * 320 samples.
SHORTEST = 5200


def trimmed_length(path: Path) -> int:
    """Samples at 16 kHz that are left of a file after the effects; may be 0."""
    waveform, _ = apply_effects_file(str(path), EFFECTS)
    return waveform.size(1)


def trimmed_lengths(paths: list[str]) -> list[int]:
    """Lengths of many files in samples, in their order, remembered from one run to the next.

    Raises
    ------
    FitHubertError
        A file cannot be decoded.
    """
    files = [Path(path) for path in paths]
    lengths = scan(files, trimmed_length, "Trimming silence")
    for path in files:
        if isinstance(lengths[path], str):
            raise FitHubertError(lengths[path])
    return [lengths[path] for path in files]


def check_lengths(
    root: Path, trials: dict[str, Path], min_samples: int | None = None, shortest: int = SHORTEST
) -> None:
    """See that silence trimming leaves enough of the utterances.

    Parameters
    ----------
    root : path
        The corpus, known to be complete.
    trials : dict
        Split ("dev" or "test") to its list of trials, each of whose utterances must keep `shortest`.
    min_samples : int, optional
        Training takes only utterances that keep more than this: there must be one, and none below `shortest`.
    shortest : int
        Samples that the x-vector needs of an utterance; more where a frame stands for more than 20 ms.

    Raises
    ------
    FitHubertError
        There is too little left, or a file cannot be decoded.
    """
    for split, path in trials.items():
        names = [name for line in path.read_text(encoding="utf-8").splitlines() for name in line.split()[1:]]
        files = [str(root / split / "wav" / name) for name in dict.fromkeys(names)]
        for file, length in zip(files, trimmed_lengths(files), strict=True):
            if length < shortest:
                raise FitHubertError(
                    f"{file}: expected {shortest / 16000:g} s or more after silence trimming, found "
                    f"{length / 16000:.3f} s; remove its trials from {path}"
                )
    if min_samples is not None:
        wav = root / "dev" / "wav"
        lengths = trimmed_lengths([str(file) for file in find_audio(wav)])
        longest = max(lengths)
        if longest <= min_samples:
            raise FitHubertError(
                f"{wav}: expected utterances of over {min_samples / 16000:g} s after silence trimming, found "
                f"{longest / 16000:.3f} s at most; "
                "give a smaller -o config.downstream_expert.datarc.vad_config.min_sec=... (in samples)"
            )
        taken = min(length for length in lengths if length > min_samples)
        if taken < shortest:
            raise FitHubertError(
                f"{wav}: expected {shortest / 16000:g} s or more of each utterance to train on after silence trimming, "
                f"found {taken / 16000:.3f} s; give "
                f"-o config.downstream_expert.datarc.vad_config.min_sec={shortest - 1}"
            )

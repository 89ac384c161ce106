"""Real speech for the embedded models: recordings of any format as 16 kHz FLAC, some speakers kept for validation.

    python examples/mini/gather_speech.py speech mini_librispeech/LibriSpeech/train-clean-5 speechocean762/WAVE

Below each folder, the first level of folders are its speakers; every 17th of all is for validation, in `speech/dev`.
FLAC is decoded some ten times as fast as Opus or MP3, which counts when each file is read in every epoch. Interrupted,
the same command goes on; what is there is not read again.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
from tqdm import tqdm

from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.files import atomic_path

EVERY = 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("folders", type=Path, nargs="+", help="each of its own name")
    args = parser.parse_args()

    recordings = [
        (folder.name, path.relative_to(folder), path) for folder in args.folders for path in find_audio(folder)
    ]
    speakers = sorted({(corpus, inside.parts[0]) for corpus, inside, _ in recordings})
    held_out = set(speakers[::EVERY])

    def copy(recording: tuple[str, Path, Path]) -> None:
        corpus, inside, path = recording
        split = "dev" if (corpus, inside.parts[0]) in held_out else "train"
        target = (args.output / split / corpus / inside).with_suffix(".flac")
        if target.is_file():
            return
        try:
            waveform = load_any_waveform(path)
        except FitHubertError as error:
            tqdm.write(f"left out: {error}")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            soundfile.write(temporary, waveform.numpy(), 16_000, format="FLAC", subtype="PCM_16")

    with ThreadPoolExecutor(2) as pool:
        list(tqdm(pool.map(copy, recordings), "Gather", len(recordings), unit="file"))


if __name__ == "__main__":
    main()

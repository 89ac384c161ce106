"""What `joint_mini` learns from: words in Speech Commands' layout, voices in VoxCeleb1's.

    python examples/mini/gather_joint.py joint --words WORDS --test WORDS --voices VOICES ... --trials VOXCELEB1

Words: every clip of WORDS (several folders) as it is and in some rooms, some minutes of eSpeak, and a muted microphone
among the noises. One speaker in eight is for dev; speakers who are in the test too are left out (`--leave-out`).
Voices: folders of speakers, linked; the config holds some out for dev. The test sets become wav, as s3prl reads them.
"""

import argparse
import hashlib
import itertools
import shutil
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.corpora.layouts.speech_commands import BACKGROUND, speech_commands_part
from fithubert_upstream.corpora.synthetic.recordings import random_conditions
from fithubert_upstream.corpora.synthetic.run import synthesise
from fithubert_upstream.files import atomic_path

SHIFT = 0.1  # seconds by which a word is moved at most
DEV_EVERY = 8


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, format="WAV")


def elsewhere(samples: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The clip a little earlier or later, heard in a room and through a microphone."""
    shift = int(draw.integers(-SHIFT * SAMPLE_RATE, SHIFT * SAMPLE_RATE + 1))
    moved = np.pad(samples, (max(0, shift), max(0, -shift)))[max(0, -shift) :][: len(samples)]
    return random_conditions(draw).apply(moved, draw) if moved.any() else moved


def named(speaker: str, part: str) -> str:
    """Eight digits for a speaker, of those that s3prl takes for `part`."""
    for count in itertools.count():
        name = hashlib.sha1(f"{speaker}{count}".encode()).hexdigest()[:8]
        if speech_commands_part(Path(f"{name}_nohash_0.wav")) == part:
            return name


def gather_words(
    out: Path, folders: list[Path], test: Path, leave_out: list[str], takes: list[int], minutes: float
) -> None:
    for folder, times in zip(folders, takes, strict=True):
        clips = [path for path in find_audio(folder) if path.parent.name != BACKGROUND]
        speakers = sorted({path.stem.partition("_nohash_")[0] for path in clips} - set(leave_out))
        parts = {speaker: "dev" if i % DEV_EVERY == 0 else "train" for i, speaker in enumerate(speakers)}
        names = {speaker: named(speaker, part) for speaker, part in parts.items()}
        for path in tqdm(clips, folder.name):
            word, (speaker, _, take) = path.parent.name, path.stem.partition("_nohash_")
            if speaker not in names:
                continue
            samples = load_any_waveform(path).numpy()
            place = out / "train" / word
            write(place / f"{names[speaker]}_nohash_{take}.wav", samples)
            if parts[speaker] == "train":
                for number in range(times):
                    draw = np.random.default_rng([int(speaker, 16), sum(word.encode()), int(take), number])
                    write(place / f"{names[speaker]}_nohash_{take}{number:02d}.wav", elsewhere(samples, draw))
        for path in find_audio(folder):
            if path.parent.name == BACKGROUND:
                write(out / "train" / BACKGROUND / f"{path.stem}.wav", load_any_waveform(path).numpy())
    draw = np.random.default_rng(0)
    quiet = np.concatenate([np.zeros(5 * SAMPLE_RATE), draw.normal(0, 2**-15, 5 * SAMPLE_RATE)])
    write(out / "train" / BACKGROUND / "a_muted_microphone.wav", quiet)
    if minutes:
        said = synthesise("speech_commands", out / "synthetic", {"train": minutes, "test": 1.0})
        for path in find_audio(said / "train"):
            if speech_commands_part(path) == "train" or path.parent.name == BACKGROUND:
                target = out / "train" / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    for path in tqdm(list(find_audio(test)), "test"):
        write(out / "test" / path.parent.name / f"{path.stem}.wav", load_any_waveform(path).numpy())


def gather_voices(out: Path, folders: list[Path], trials: Path) -> None:
    """`dev/wav/speaker/session` of links; speakers below each folder, sessions perhaps below them."""
    for folder in folders:
        for path in find_audio(folder):
            speaker, *session, _ = path.relative_to(folder).parts
            link(path, out / "dev" / "wav" / speaker / (f"{folder.name}-" + "-".join(session)) / path.name)
    for path in find_audio(trials / "test" / "wav"):
        link(path, out / "test" / "wav" / path.relative_to(trials / "test" / "wav"))
    shutil.copyfile(trials / "test_trials.txt", out / "test_trials.txt")


def link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(path.resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--words", type=Path, nargs="+", required=True, help="training parts in Speech Commands' layout"
    )
    parser.add_argument("--test", type=Path, required=True, help="a test part in that layout, of any format")
    parser.add_argument("--voices", type=Path, nargs="+", required=True, help="folders of speakers")
    parser.add_argument("--trials", type=Path, required=True, help="a folder as VoxCeleb1, whose test part is the test")
    parser.add_argument("--leave-out", nargs="*", default=[], help="speakers of the words who are in the test too")
    parser.add_argument(
        "--takes", type=int, nargs="+", help="rooms that each word is heard in besides its own, for each of WORDS (4)"
    )
    parser.add_argument("--minutes", type=float, default=30, help="of eSpeak; 0 for none")
    args = parser.parse_args()
    takes = args.takes or [4] * len(args.words)
    gather_words(args.output / "words", args.words, args.test, args.leave_out, takes, args.minutes)
    gather_voices(args.output / "voices", args.voices, args.trials)


if __name__ == "__main__":
    main()

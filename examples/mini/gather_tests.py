"""Two more tests of the embedded pair: phones of learners of English, and keywords of few clips.

    python examples/mini/gather_tests.py tests --learners TRAIN TEST --words WORDS --test TEST --leave-out SPEAKER ...

Learners: folders of speakers with `*.trans.txt` beside the recordings, as speechocean762 comes; one speaker in twelve
of TRAIN is for dev. They become `tests/learners/{train,dev,test}` in LibriSpeech's layout. Words: the training clips of
WORDS without the speakers of `--leave-out`, and the clips of TEST, in `tests/few_shot` in Speech Commands' layout.
"""

import argparse
from pathlib import Path

import soundfile
from gather_joint import link, write
from tqdm import tqdm

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.walk import find_audio
from fithubert_upstream.audio.waveforms import load_any_waveform
from fithubert_upstream.files import atomic_path, write_text

DEV_EVERY = 12


def gather_learners(out: Path, train: Path, test: Path) -> None:
    for source in (train, test):
        for number, folder in enumerate(tqdm(sorted(p for p in source.iterdir() if p.is_dir()), source.name), 1):
            split = "test" if source == test else "dev" if number % DEV_EVERY == 0 else "train"
            lines = [line for file in sorted(folder.rglob("*.trans.txt")) for line in file.open(encoding="utf-8")]
            chapter = out / split / folder.name / "0"
            chapter.mkdir(parents=True, exist_ok=True)
            paths = {path.stem: path for path in find_audio(folder)}
            kept = []
            for line in sorted(lines):
                name, words = line.strip().split(" ", 1)
                new = f"{folder.name}-0-{name}"
                with atomic_path(chapter / f"{new}.flac") as temporary:
                    soundfile.write(temporary, load_any_waveform(paths[name]).numpy(), SAMPLE_RATE, format="FLAC")
                kept.append(f"{new} {words}\n")
            write_text(chapter / f"{folder.name}-0.trans.txt", "".join(kept))


def gather_few_shot(out: Path, words: Path, test: Path, leave_out: list[str]) -> None:
    for path in find_audio(words):
        if path.stem.partition("_nohash_")[0] not in leave_out:
            link(path, out / "train" / path.parent.name / path.name)
    for path in tqdm(list(find_audio(test)), "few_shot"):
        write(out / "test" / path.parent.name / f"{path.stem}.wav", load_any_waveform(path).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--learners", type=Path, nargs=2, required=True, metavar=("TRAIN", "TEST"))
    parser.add_argument("--words", type=Path, required=True, help="a training part in Speech Commands' layout")
    parser.add_argument("--test", type=Path, required=True, help="a test part in that layout, of any format")
    parser.add_argument("--leave-out", nargs="*", default=[], help="speakers of the words who are in the test too")
    args = parser.parse_args()
    gather_learners(args.output / "learners", *args.learners)
    gather_few_shot(args.output / "few_shot", args.words, args.test, args.leave_out)


if __name__ == "__main__":
    main()

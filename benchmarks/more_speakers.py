"""A corpus and configs that show what fine-tuning for speaker verification gains with 20 and with 100 speakers.

`python benchmarks/more_speakers.py ROOT OUTPUT`: ROOT holds speaker/session/*.flac at 16 kHz, of 150 speakers or more.
OUTPUT gets them in clips of one second, about as short as spoken words, as speaker/piece<n>-01.flac, and 20.yaml and
100.yaml for `fithubert joint-report --tasks sv -c`: `mini/joint_ks_sv.yaml` with these speakers.
"""

import argparse
import random
from pathlib import Path

import soundfile
import yaml

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.audio.walk import find_audio, folders_in
from fithubert_upstream.audio.waveforms import load_waveform
from fithubert_upstream.errors import FitHubertError
from fithubert_upstream.settings.files import DOWNSTREAM_CONFIGS, find_config

TEST, DEV = 30, 20
TRAIN = (20, 100)


def main(root: Path, output: Path) -> None:
    """Write the clips, one second each, what is left over at an utterance's end dropped, and the configs."""
    speakers = [folder.name for folder in folders_in(root)]
    if len(speakers) < TEST + DEV + max(TRAIN):
        needed = TEST + DEV + max(TRAIN)
        raise FitHubertError(f"{root}: expected {needed} folders of speakers, found {len(speakers)}; give more")
    for speaker in speakers:
        (output / speaker).mkdir(parents=True)
        pieces = 0
        for path in find_audio(root / speaker):
            samples = load_waveform(path).numpy()
            for start in range(0, len(samples) - SAMPLE_RATE + 1, SAMPLE_RATE):
                clip = output / speaker / f"piece{pieces}-01.flac"
                soundfile.write(clip, samples[start : start + SAMPLE_RATE], SAMPLE_RATE)
                pieces += 1
    random.Random(0).shuffle(speakers)
    test, dev, rest = speakers[:TEST], speakers[TEST : TEST + DEV], speakers[TEST + DEV :]
    mini = find_config("mini/joint_ks_sv.yaml", DOWNSTREAM_CONFIGS).read_text(encoding="utf-8")
    for count in TRAIN:
        config = yaml.safe_load(mini)
        split = {"train": rest[:count], "dev": dev, "test": test}
        config["downstream_expert"]["sv"] |= {"root": str(output.absolute()), "trials": "", "drawn_trials": 3000}
        config["downstream_expert"]["sv"]["speakers"] = split
        (output / f"{count}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    try:
        main(args.root, args.output)
    except FitHubertError as error:
        parser.error(str(error))

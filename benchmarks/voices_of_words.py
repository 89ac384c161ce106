"""How well joint_mini tells voices by a few words: python benchmarks/voices_of_words.py COMMANDS [-m MODEL]

COMMANDS holds folders of clips named by their speakers, as Speech Commands. Four clips enrol a speaker; one to four
others, one after the other, are the test. Prints the EER, and what the model's own threshold accepts.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from fithubert_upstream.audio.decode import read_speech
from fithubert_upstream.joint.onnx_model import load_listener

ENROLLED = 4


def eer(same: np.ndarray, other: np.ndarray) -> float:
    """The error where as many of the same voice are refused as others are accepted, at one of the scores."""
    thresholds = np.concatenate([same, other])
    refused = np.array([(same < threshold).mean() for threshold in thresholds])
    accepted = np.array([(other >= threshold).mean() for threshold in thresholds])
    best = np.abs(refused - accepted).argmin()
    return float(refused[best] + accepted[best]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", type=Path)
    parser.add_argument("-m", "--model", default="joint_mini")
    args = parser.parse_args()
    clips, model = defaultdict(list), load_listener(args.model)
    for path in sorted(args.commands.glob("[!_]*/*.wav")):
        clips[path.name.partition("_")[0]].append(read_speech(path)[0])
    clips = {speaker: takes for speaker, takes in clips.items() if len(takes) > ENROLLED}
    known = {speaker: model.scores(np.concatenate(takes[:ENROLLED])).embedding for speaker, takes in clips.items()}
    print("| words | trials | EER % | accepted, same voice % | accepted, another % |\n|---:|---:|---:|---:|---:|")
    for count in (1, 2, 3, 4):
        same, other = [], []
        for speaker, takes in clips.items():
            for start in range(ENROLLED, len(takes) - count + 1, count):
                voice = model.scores(np.concatenate(takes[start : start + count])).embedding
                for name, enrolled in known.items():
                    (same if name == speaker else other).append(float(voice @ enrolled))
        same, other = np.array(same), np.array(other)
        accepted = [100 * (scores >= model.threshold).mean() for scores in (same, other)]
        row = [count, len(same) + len(other), 100 * eer(same, other), *accepted]
        print("| " + " | ".join(f"{value:.0f}" for value in row) + " |")


if __name__ == "__main__":
    main()

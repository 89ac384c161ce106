"""How well `fithubert listen -` hears: python benchmarks/listening.py SPEECH COMMANDS [-m MODEL] [-o FILE.json]

SPEECH is a folder of LibriSpeech's layout, of which the utterances without a keyword become one stream: what is told
there is a false alarm. COMMANDS holds a folder of clips for each keyword, which become a stream padded by a quiet room:
a clip whose keyword is not told is a miss. Both at several thresholds; latency and CPU time at the default one.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from listening_streams import TEST_SPEAKERS, clips, speech, utterances_without, words_in_silence
from tqdm import tqdm

from fithubert_upstream.audio import SAMPLE_RATE
from fithubert_upstream.files import write_json
from fithubert_upstream.joint.onnx_model import load_listener
from fithubert_upstream.joint.spotting import BLOCK, HOP, THRESHOLD, Keyword, Spotter

THRESHOLDS = (0.8, 0.9, THRESHOLD, 0.97)
LATE = SAMPLE_RATE * 6 // 10  # samples behind a clip's end until which it may be told


class Remembering:
    """A model that runs once for each window, whoever asks; it counts CPU time."""

    def __init__(self, model):
        self.model, self.tasks, self.classes = model, model.tasks, model.classes
        self.last, self.cpu, self.wall, self.runs = {}, 0.0, 0.0, 0

    def scores(self, window):
        key = window.tobytes()
        if key not in self.last:
            cpu, wall = time.process_time(), time.perf_counter()
            self.last = {key: self.model.scores(window)}
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall
            self.runs += 1
        return self.last[key]


def listen(model, samples, name: str) -> dict[float, list[tuple[float, Keyword]]]:
    """(seconds into the stream when it is told, keyword) of each threshold; pushes 0.1 s at a time."""
    spotters = {threshold: Spotter(model, threshold) for threshold in THRESHOLDS}
    told = {threshold: [] for threshold in THRESHOLDS}
    size = HOP * BLOCK
    for start in tqdm(range(0, len(samples), size), desc=name, mininterval=10):
        for threshold, spotter in spotters.items():
            for keyword in spotter.push(samples[start : start + size]):
                told[threshold].append(((start + size) / SAMPLE_RATE, keyword))
    return told


def false_alarms(model, samples) -> dict:
    hours = len(samples) / SAMPLE_RATE / 3600
    told = listen(model, samples, "speech")
    return {
        "hours": hours,
        "false_alarms_per_hour": {str(threshold): len(found) / hours for threshold, found in told.items()},
        "words": {word: sum(k.word == word for _, k in told[THRESHOLD]) for word in model.classes},
    }


def misses(model, samples, clips) -> dict:
    result = {"clips": len(clips)}
    for threshold, found in listen(model, samples, "keywords").items():
        right, wrong, late, left = 0, 0, [], list(found)
        by_word = {}
        for start, end, label in clips:
            here = [item for item in left if start < item[0] * SAMPLE_RATE <= end + LATE]
            left = [item for item in left if item not in here]
            hits = [item for item in here if item[1].word == label]
            right += bool(hits)
            wrong += len(here) - len(hits)
            by_word.setdefault(label, []).append(not hits)
            late += [told - keyword.at for told, keyword in hits[:1]]
        result[str(threshold)] = {
            "miss_percent": 100 - 100 * right / len(clips),
            "wrong_percent": 100 * wrong / len(clips),
            "latency_s": {"median": float(np.median(late)), "95 %": float(np.quantile(late, 0.95))} if late else None,
            "miss_percent_by_word": {word: 100 * float(np.mean(missed)) for word, missed in by_word.items()},
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("commands", type=Path)
    parser.add_argument("-m", "--model", default="joint_mini")
    parser.add_argument("-o", "--output", type=Path, default=Path("result/listening.json"))
    parser.add_argument("--hours", type=float, default=1.0, help="at most so much speech")
    parser.add_argument("--every", type=int, default=1, help="take one clip of so many")
    args = parser.parse_args()

    model = Remembering(load_listener(args.model))
    chosen = clips(args.commands, without=TEST_SPEAKERS if args.commands.name == "train" else ())[:: args.every]
    pieces, places = zip(*words_in_silence(chosen), strict=True)
    result = {"model": args.model, "speech": str(args.speech), "commands": str(args.commands)}
    seconds = sum(map(len, pieces)) / SAMPLE_RATE
    for name, work in (
        ("misses", lambda: misses(model, np.concatenate([*pieces, np.zeros(SAMPLE_RATE, np.float32)]), places)),
        ("speech", lambda: false_alarms(model, speech(utterances_without(args.speech), 3600 * args.hours))),
    ):
        model.cpu = model.wall = model.runs = 0
        result[name] = work()
        heard = 3600 * result[name]["hours"] if "hours" in result[name] else seconds
        result[name] |= {
            "seconds": heard,
            "runs_of_the_model_per_second": model.runs / heard,
            "model_cpu_percent_of_one_core": 100 * model.cpu / heard,
            "model_cpu_ms": 1000 * model.cpu / max(1, model.runs),
            "model_wall_ms": 1000 * model.wall / max(1, model.runs),
        }
        write_json(args.output, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

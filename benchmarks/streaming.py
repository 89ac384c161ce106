"""How far a stream's features are from the whole utterance's: python benchmarks/streaming.py FOLDER [-o FILE.json]

FOLDER holds recordings; the first ones of 10 to 16 s are taken, one of each speaker first. Prints a table over the
look-ahead and one over the left context, for fithubert_mini and for a FitHuBERT at full size with random weights.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fithubert_upstream.audio.decode import read_speech
from fithubert_upstream.files import write_json
from fithubert_upstream.streaming.encoder import StreamingEncoder, load_features

BEGINNING = 200  # frames, 4 s, in which the norm's statistics settle
AHEAD = (0, 0.1, 0.2, 0.5, 1, 2)
SETTINGS = {
    "fithubert_mini": [(ahead, 4.0) for ahead in AHEAD] + [(0.5, left) for left in (1.0, 2.0, 8.0)],
    "FitHuBERT, random": [(ahead, 2.0) for ahead in AHEAD],
}


def utterances(folder: Path, count: int) -> list[np.ndarray]:
    found, speakers = [], set()
    for path in sorted(folder.rglob("*.flac")):
        speaker = path.name.split("-")[0]
        samples, _ = read_speech(path)
        if speaker not in speakers and 10 <= len(samples) / 16000 <= 16:
            speakers.add(speaker)
            found.append(samples)
    return found[:count]


def full_size():
    import torch

    from fithubert_upstream.models.fithubert import FitHubert

    torch.manual_seed(0)
    model = FitHubert()
    return load_features(model.keep_heads((12,)).eval())


def measure(features, waves: list[np.ndarray], ahead: float, left: float, step: float) -> dict:
    cosines, settled, error, energy = [], [], 0.0, 0.0
    cpu, seconds = 0.0, 0.0
    for wave in waves:
        whole = features(wave)["last_hidden_state"]
        encoder = StreamingEncoder(features, look_ahead=ahead, left=left, step=step)
        start = time.process_time()
        parts = [encoder.push(wave[i : i + 1600]) for i in range(0, len(wave), 1600)]
        found = np.concatenate([*parts, encoder.finish()])
        cpu, seconds = cpu + time.process_time() - start, seconds + len(wave) / 16000
        cosine = (found * whole).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(whole, axis=1)
        cosines.append(cosine)
        settled.append(cosine[BEGINNING:])
        error += np.square(found - whole)[BEGINNING:].sum()
        energy += np.square(whole)[BEGINNING:].sum()
    cosines, settled = np.concatenate(cosines), np.concatenate(settled)
    return {
        "look_ahead": ahead,
        "left": left,
        "step": step,
        "latency": encoder.latency,
        "cosine_mean": float(cosines.mean()),
        "cosine_mean_after_4_s": float(settled.mean()),
        "cosine_min_after_4_s": float(settled.min()),
        "relative_error_after_4_s": float(np.sqrt(error / energy)),
        "cpu_percent_of_one_core": 100 * cpu / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("result/streaming.json"))
    parser.add_argument("--utterances", type=int, default=3)
    parser.add_argument("--step", type=float, default=0.4)
    args = parser.parse_args()
    waves = utterances(args.folder, args.utterances)
    result = {"seconds": [len(wave) / 16000 for wave in waves]}
    for name, features in (("fithubert_mini", load_features("fithubert_mini")), ("FitHuBERT, random", full_size())):
        result[name] = []
        print(f"{name}\n| look-ahead | left | latency | cosine | after 4 s | lowest | rel. error | CPU % |")
        for ahead, left in tqdm(SETTINGS[name], desc=name, mininterval=10):
            row = measure(features, waves, ahead, left, args.step)
            result[name].append(row)
            print("| " + " | ".join(f"{value:.4g}" for key, value in row.items() if key != "step") + " |", flush=True)
            write_json(args.output, result)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

"""Start-up, memory and CPU share of `fithubert listen`: python benchmarks/listening_start.py RECORDING SPEECH

Each process recognises one recording, with torch or without; medians of its CPU time, wall time and peak memory.
Then `listen -` hears two minutes: silence, the recording again and again between pauses, and the utterances of SPEECH,
a folder of LibriSpeech's layout, without keywords. What it takes beyond a stream of 0.1 s is its share of a core.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from listening_streams import speech, utterances_without, words_in_silence

from fithubert_upstream.audio import SAMPLE_RATE

ASSETS = Path(__file__).parents[1] / "fithubert_upstream" / "assets"
NOTHING = [sys.executable, "-c", "pass"]
COMMANDS = {
    "Python alone": NOTHING,
    "onnxruntime, int8 (joint_mini.onnx)": [sys.executable, "-m", "fithubert_upstream", "listen", "RECORDING"],
    "torch, fp32 (joint_mini.safetensors)": [
        *(sys.executable, "-m", "fithubert_upstream", "listen", "RECORDING"),
        *("-m", str(ASSETS / "joint_mini.safetensors")),
    ],
}
ROUNDS = 7


SECONDS = 120


def run(command: list[str], source: str = os.devnull) -> tuple[float, float, float]:
    """(CPU seconds, seconds, peak MiB) of a process."""
    start, null, file = time.perf_counter(), os.open(os.devnull, os.O_WRONLY), os.open(source, os.O_RDONLY)
    streams = [(os.POSIX_SPAWN_DUP2, file, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=streams)
    _, status, used = os.wait4(process, 0)
    os.close(null)
    os.close(file)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 1024


def main() -> None:
    rows = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            rows[name].append(run([sys.argv[1] if word == "RECORDING" else word for word in command]))
    print("| | CPU s | s | peak MiB |\n|---|---:|---:|---:|")
    for name, found in rows.items():
        cpu, wall, memory = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {memory:.0f} |", flush=True)
    print("| stream | CPU, % of a core | peak MiB |\n|---|---:|---:|")
    words = np.concatenate([piece for piece, _ in words_in_silence([(Path(sys.argv[1]), "")] * SECONDS)])
    begun = stream_of(words[: SAMPLE_RATE // 10])[0]
    for name, samples in (
        ("silence", np.zeros(SECONDS * SAMPLE_RATE)),
        ("a word every two seconds", words[: SECONDS * SAMPLE_RATE]),
        ("running speech", speech(utterances_without(Path(sys.argv[2])), SECONDS)),
    ):
        cpu, memory = stream_of(samples)
        print(f"| {name} | {100 * (cpu - begun) / SECONDS:.1f} | {memory:.0f} |", flush=True)


def stream_of(samples: np.ndarray) -> tuple[float, float]:
    """(CPU seconds, peak MiB) of `listen -`, medians of three."""
    with tempfile.NamedTemporaryFile() as file:
        file.write((32767 * samples).clip(-32768, 32767).astype("<i2").tobytes())
        file.flush()
        found = [run([sys.executable, "-m", "fithubert_upstream", "listen", "-"], file.name) for _ in range(3)]
    return statistics.median(cpu for cpu, _, _ in found), statistics.median(memory for _, _, memory in found)


if __name__ == "__main__":
    main()

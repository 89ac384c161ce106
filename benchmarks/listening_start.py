"""Start-up and memory of `fithubert listen`, with torch and without: python benchmarks/listening_start.py RECORDING

Each process recognises one recording; medians of its CPU time, its wall time and its peak memory.
"""

import os
import statistics
import sys
import time
from pathlib import Path

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


def run(command: list[str]) -> tuple[float, float, float]:
    """(CPU seconds, seconds, peak MiB) of a process."""
    start, null = time.perf_counter(), os.open(os.devnull, os.O_WRONLY)
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
    _, status, used = os.wait4(process, 0)
    os.close(null)
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
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()

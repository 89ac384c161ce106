"""How time is measured: a timer for a device, a clock for the parts of a step."""

import time
from collections.abc import Callable

import torch

from .train_report import PARTS


def timer(device: torch.device) -> Callable[[Callable[[], None]], float]:
    """What tells the seconds that a call takes, on the device's own time line."""
    if device.type != "cuda":

        def seconds(call: Callable[[], None]) -> float:
            start = time.perf_counter()
            call()
            return time.perf_counter() - start

        return seconds

    def seconds_on_gpu(call: Callable[[], None]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000

    return seconds_on_gpu


class Clock:
    """Seconds between marks; of a GPU's own time line, which is not waited for before `stop`."""

    def __init__(self, device: torch.device):
        self.on_cuda = device.type == "cuda"
        self.marks: list[tuple[str, float | torch.cuda.Event]] = []

    def start(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize()
        self.marks = []
        self.mark("start")

    def mark(self, part: str) -> None:
        """What was done since the mark before is `part`."""
        if self.on_cuda:
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        else:
            now = time.perf_counter()
        self.marks.append((part, now))

    def stop(self) -> dict[str, float]:
        """Seconds of each part since `start`."""
        if self.on_cuda:
            torch.cuda.synchronize()
        seconds = dict.fromkeys(PARTS, 0.0)
        for (_, begin), (part, end) in zip(self.marks, self.marks[1:], strict=False):
            seconds[part] += begin.elapsed_time(end) / 1000 if self.on_cuda else end - begin
        return seconds

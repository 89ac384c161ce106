"""Turns SIGTERM and SIGINT into a stop request, which the training loop honours after the current update."""

import os
import signal
import threading
from types import FrameType


class StopSignal:
    """A context in which both signals are only noted: `number` is the signal, 0 while there was none.

    In another thread than the main one, which alone may set handlers, signals do what they did before.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.number = 0
        self.process = os.getpid()
        self.before: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self.process:
            self.number = number
        elif number == signal.SIGTERM:
            os._exit(128 + number)  # a data loader's worker, which inherits this; Ctrl-C, sent to all, it sits out

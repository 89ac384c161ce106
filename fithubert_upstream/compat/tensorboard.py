"""tensorboardX on a full disk: its thread dies of it, and the training then waits for that thread for ever."""

import functools
import sys
from collections.abc import Callable


def drop_what_cannot_be_written() -> None:
    """Let TensorBoard's log end there, with one line: it is no result. Safe to repeat."""
    from tensorboardX.event_file_writer import EventsWriter

    for name in ("_write_serialized_event", "flush", "close"):
        method = getattr(EventsWriter, name)
        if not hasattr(method, "__wrapped__"):
            setattr(EventsWriter, name, _forgiving(method))


def _forgiving(method: Callable) -> Callable:
    @functools.wraps(method)
    def call(self, *args):
        try:
            return method(self, *args)
        except OSError as error:
            if not getattr(self, "is_told", False):
                self.is_told = True
                print(f"TensorBoard's log is not complete ({error.strerror or error})", file=sys.stderr)

    return call

"""Standard output and standard error that may be closed, full, or have lost their reader."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Forgiving(io.TextIOBase):
    """A stream that ignores write errors, so that a progress bar cannot stop the work it shows."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def robust_streams() -> Iterator[None]:
    """Give a process that was started without standard streams empty ones, and forgive standard error in the block.

    Names of files may hold bytes that are no text; they are printed escaped.
    """
    with contextlib.ExitStack() as stack:
        for name, redirect in (("stdout", contextlib.redirect_stdout), ("stderr", contextlib.redirect_stderr)):
            stream = getattr(sys, name)
            if stream is None:  # closed by the shell, as with >&-
                stream = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            elif name == "stdout" and hasattr(stream, "reconfigure"):  # standard error escapes such names anyway
                stream.reconfigure(errors="backslashreplace")
            stack.enter_context(redirect(Forgiving(stream) if name == "stderr" else stream))
        yield


def abandon_stdout() -> None:
    """Let nothing more go to a standard output that failed, not even what Python still holds at exit."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a notebook or a test has no number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)

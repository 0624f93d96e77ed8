"""Standard streams that are closed, full, broken or of another encoding than UTF-8.

Messages on stderr are for people who may have gone: if they cannot be written, the work goes on. A result that cannot
be written to stdout is an error, but for a reader that has read enough (`cogen list | head`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO

from cogen.errors import CogenError


def prepare() -> None:
    """Make the standard streams of this process such that nothing in it fails on them."""
    _open_descriptors()
    for name in ("stdin", "stderr"):
        if getattr(sys, name) is None:  # closed
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = _Closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a character that the terminal's encoding lacks is written as \u2192
            stream.reconfigure(errors="backslashreplace")


def write(stream: TextIO, text: str, *, result: bool) -> None:
    """Write and flush.

    :param result: is it what the command was asked for, or a message?
    :raises CogenError: a result cannot be written.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # who reads has read enough
        discard(stream)
    except OSError as error:
        discard(stream)
        if result:
            raise _lost(error.strerror or str(error)) from error


def settle() -> None:
    """What is left in a buffer and cannot be written is dropped: Python would complain about it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def _lost(reason: str) -> CogenError:
    return CogenError(
        f"the result cannot be written to stdout: {reason}",
        hint="what the command writes into files is not concerned; redirect stdout to where there is room",
    )


def discard(stream: TextIO) -> None:
    """From now on what is written goes nowhere, also what is in the stream's buffer when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def is_closed(stream: object) -> bool:
    """Was it closed when the process started? A result cannot be written to it."""
    return isinstance(stream, _Closed)


def speaks_unicode(stream: TextIO) -> bool:
    """Whether every character can be written to it."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "").startswith("utf")


def _open_descriptors() -> None:
    """With one of 0, 1 and 2 closed, the next file that is opened would get it, and whatever a library prints."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free one: this


class _Closed:
    """Stdout that was closed when the process started."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise _lost("it is closed")

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 1  # now nowhere

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

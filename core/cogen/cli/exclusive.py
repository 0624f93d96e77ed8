"""With ``--json`` and ``--quiet`` stdout is for a program: nothing but the result may stand there.

Plugins, libraries in C and child processes print as well. While a verb runs, descriptor 1 is therefore stderr, and the
sink alone holds what was stdout.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from cogen.cli.output import Output
from cogen.cli.streams import Closed

_SWITCHES = frozenset({"--json", "--quiet", "-q"})
_HELP = frozenset({"--help", "-h"})


def exclusive(out: Output, arguments: Sequence[str]) -> contextlib.AbstractContextManager[None]:
    """Around a verb: only ``out`` writes to stdout, where the arguments ask for a result that a program reads."""
    if _SWITCHES.isdisjoint(arguments) or not _HELP.isdisjoint(arguments):
        return contextlib.nullcontext()
    return _exclusive(out)


@contextlib.contextmanager
def _exclusive(out: Output) -> Iterator[None]:
    before, printed = out._stdout, sys.stdout
    if isinstance(printed, Closed):  # it says so when the result is written
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            own = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # started without stdout or stderr: there is nothing to keep apart
            yield
            return
        stack.callback(_put_back, own)
        if out._stdout is None:
            if _descriptor(printed) == 1:
                out._stdout = stack.enter_context(_writer(own, printed))
            else:  # Python's stdout is somewhere else, in a test or a notebook, or nowhere
                out._stdout, sys.stdout = printed, sys.stderr
        try:
            yield
        finally:
            out._stdout, sys.stdout = before, printed
            with contextlib.suppress(OSError, ValueError):
                printed.flush()


@contextlib.contextmanager
def _writer(descriptor: int, like: TextIO) -> Iterator[TextIO]:
    """Text into a descriptor, encoded like another stream."""
    stream = open(descriptor, "w", encoding=like.encoding, errors=like.errors, closefd=False)  # noqa: SIM115
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # whoever read it has gone: that was reported when it was written
            stream.close()


def _put_back(own: int) -> None:
    os.dup2(own, 1)
    os.close(own)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None

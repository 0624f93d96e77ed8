"""The border to other people's code and files: whatever happens behind it comes back as one line.

A parser may raise anything on a damaged file, and a plugin anything at all: a list of exceptions at the place of the
call is always one too short. The rules, in one place:

- A :class:`CogenError` is already one line, and passes.
- ``KeyboardInterrupt`` passes: the user wants to stop. So does ``GeneratorExit``.
- An error of the machine passes (a full disk, too many open files): it says nothing about the file.
- ``MemoryError`` becomes a line: a header that promises 2^60 elements raises it on a machine with memory to spare.
- All else becomes a line: ``SystemExit``, which would end the run as if it had succeeded, ``RecursionError``, and a
  panic of a library in Rust, which is not even an ``Exception``.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

from cogen.errors import CogenError, SourceError, message_of

#: Errors of the machine rather than of a file.
_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EIO, errno.ESTALE})
#: Characters of another library's message that are shown.
_LONGEST = 300


def passes(error: BaseException) -> bool:
    """Is this error not about what lies behind the border?"""
    return isinstance(error, CogenError | KeyboardInterrupt | GeneratorExit) or (
        isinstance(error, OSError) and error.errno in _MACHINE
    )


def reason_of(error: BaseException) -> str:
    """What another library says, in one line: the first that is not empty, cut where it is long."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    lines = str(error).split("\n") if message_of(error) else []
    text = next((" ".join(line.split()) for line in lines if line.strip()), "")
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".rstrip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


@contextlib.contextmanager
def border(
    problem: str, *, hint: str | None = None, make: Callable[..., CogenError] = SourceError, plugin: str | None = None
) -> Iterator[None]:
    """Around a call into another library, or into a plugin, on somebody's file.

    :param problem: what to say before the reason, naming the file and whose it is: "the tokenizer of power cannot be
        read".
    :param hint: what helps.
    :param make: the class of the error; it gets the message and ``hint=``.
    :param plugin: name of the plugin whose code is called, to be named as well.
    :raises CogenError: whatever was raised inside, but for the exceptions that the module names.
    """
    try:
        yield
    except BaseException as error:
        if passes(error):
            raise
        where = f"{plugin}: " if plugin else ""
        raise make(f"{where}{problem}: {reason_of(error)}", hint=hint) from error

"""What the operating system refuses, in one line that names the file, and what helps against it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

_PATH = "choose another path"
_ELSEWHERE = "choose another folder with -o, or set COGEN_CACHE to one that you may write to"
_SPACE = "free some space, or set COGEN_CACHE"
_NETWORK = "check the network; what was downloaded before is kept in the cache"
_SERVER = "the file server lost it: check that it is mounted, then run the same command again"
_HARDWARE = "check the disk and the system's log; what is damaged has to be restored"
_FILES = "raise the limit with `ulimit -n`, or close other programs"

#: Kind of error → (what is wrong, with the file and without it, what helps).
_KNOWN: dict[int, tuple[str, str, str]] = {
    errno.ENOSPC: ("no space left on the disk for {}", "no space left on the disk", _SPACE),
    errno.EDQUOT: ("your quota of disk space is used up: {}", "your quota of disk space is used up", _SPACE),
    errno.EROFS: ("{} is on a read-only file system", "the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("no permission for {}", "no permission", "choose another folder with -o, or change its permissions"),
    errno.EPERM: (
        "the system does not permit this for {}",
        "the system does not permit this",
        "choose another folder with -o, or ask who runs the machine",
    ),
    errno.ENOENT: ("{} does not exist", "a file does not exist", "check the spelling of the path"),
    errno.EMFILE: ("too many open files: {}", "too many open files", _FILES),
    errno.ENFILE: ("the system has too many open files: {}", "the system has too many open files", _FILES),
    errno.ENOMEM: ("out of memory: {}", "out of memory", "close other programs, or use fewer or smaller experts"),
    errno.EAGAIN: (
        "the system's limit of processes or threads is reached: {}",
        "the system's limit of processes or threads is reached",
        "raise it with `ulimit -u`, or lower --threads",
    ),
    errno.ENAMETOOLONG: ("the name is too long: {}", "a file's name is too long", "choose a shorter path"),
    errno.ELOOP: ("symbolic links lead in a circle: {}", "symbolic links lead in a circle", "remove one of the links"),
    errno.ESTALE: ("the file has gone from its server: {}", "a file has gone from its server", _SERVER),
    errno.ENOTCONN: ("the file system is not connected: {}", "a file system is not connected", _SERVER),
    errno.EIO: ("the disk gave an input/output error: {}", "the disk gave an input/output error", _HARDWARE),
    errno.EFBIG: ("the file is too large for its file system: {}", "a file is too large for its file system", _PATH),
    errno.ENOTEMPTY: (
        "the folder is not empty: {}",
        "a folder is not empty",
        "another program writes there: stop it, or choose another path",
    ),
    errno.EBUSY: ("another program uses {}", "another program uses a file", "stop it, or choose another path"),
    errno.EXDEV: ("{} is on another file system", "files are on different file systems", _PATH),
}
_CONNECTIONS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EHOSTUNREACH)
_NETWORK_KINDS = frozenset((*_CONNECTIONS, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN))
#: What writing to an open file gives: Python does not know the file's name then.
_UNNAMED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ESTALE, errno.EROFS, errno.ENOTCONN})


def describe(error: OSError) -> tuple[str, str]:
    """(what is wrong, what helps) for every error of the system, each one line."""
    name = " ".join(os.fsdecode(error.filename).split()) if isinstance(error.filename, str | bytes | Path) else None
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    if error.errno in _NETWORK_KINDS or isinstance(error, ConnectionError | TimeoutError):
        return f"no connection: {reason}", _NETWORK
    if error.errno in _KNOWN:
        named, plain, hint = _KNOWN[error.errno]
        return (named.format(name) if name else plain), hint
    if name:
        return f"{name}: {reason}", _PATH
    return reason, "check the disk, the network and the permissions"


def find_in(text: str) -> OSError | None:
    """The error of the system that a library of another language describes: "… (os error 28)"."""
    match = re.search(r"\(os error (\d+)\)", text)
    if match is not None:
        return OSError(int(match[1]), os.strerror(int(match[1])))
    if "PytorchStreamWriter failed writing" in text:  # it does not say why
        return OSError("torch could not write a checkpoint to its end; most often the disk is full")
    return None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of writing, which know no file, name this one.

    :raises OSError: the same error, with ``path`` as its file name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _UNNAMED:
            error.filename = str(path)
        raise

"""From an exception to `error: …`, `hint: …` and an exit code.

Third-party exceptions are recognised by name along their class hierarchy, so that no library is imported only to be
compared with. What the table does not know is a bug in cogen and keeps its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from cogen.errors import CogenError

#: Exit codes: 0 done, 1 failure, 2 a plan or lock has moved, 3 usage, 130 interrupted.
FAILURE, USAGE, INTERRUPTED = 1, 3, 130


@dataclass(frozen=True)
class Explanation:
    """One error as it is shown to the user."""

    message: str
    hint: str | None
    exit_code: int = FAILURE


def _offline(error: BaseException) -> Explanation:
    return Explanation(
        f"not in the local cache, and the hub cannot be reached: {_line(error)}",
        "connect once to download it, or unset HF_HUB_OFFLINE",
    )


def _gated(error: BaseException) -> Explanation:
    return Explanation(_line(error), "ask for access on the model's page, then run `hf auth login`")


def _missing(error: BaseException) -> Explanation:
    return Explanation(_line(error), "check the name and the revision; private repositories need `hf auth login`")


def _os_error(error: BaseException) -> Explanation | None:
    assert isinstance(error, OSError)
    name = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Explanation(
            "no space left on the disk" + (f" for {name}" if name else ""), "free some space, or set COGEN_CACHE"
        )
    if error.errno == errno.EROFS:
        where = f"{name} is on a read-only file system" if name else "the file system is read-only"
        return Explanation(where, "choose another folder with -o, or set COGEN_CACHE to one that you may write to")
    if isinstance(error, BrokenPipeError) or name is None:
        return None
    if isinstance(error, PermissionError):
        return Explanation(f"no permission for {name}", "choose another folder with -o, or change its permissions")
    if isinstance(error, FileNotFoundError):
        return Explanation(f"{name} does not exist", "check the spelling of the path")
    if isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError):
        return Explanation(f"{name}: {error.strerror}", "choose another path")
    return None


def _memory(error: BaseException) -> Explanation:
    return Explanation("out of memory", "close other programs, or use fewer or smaller experts")


def _encoding(error: BaseException) -> Explanation:
    return Explanation(f"a file is not UTF-8 text: {_line(error)}", "convert it to UTF-8")


def _connection(error: BaseException) -> Explanation:
    return Explanation(
        f"no connection: {_line(error)}", "check the network; what was downloaded before is kept in the cache"
    )


#: Class name (with its top-level package) → explanation; the first match along the class hierarchy counts.
TABLE: dict[str, Callable[[BaseException], Explanation | None]] = {
    "huggingface_hub.GatedRepoError": _gated,
    "huggingface_hub.OfflineModeIsEnabled": _offline,
    "huggingface_hub.LocalEntryNotFoundError": _offline,
    "huggingface_hub.RepositoryNotFoundError": _missing,
    "huggingface_hub.RevisionNotFoundError": _missing,
    "huggingface_hub.EntryNotFoundError": _missing,
    "httpx.TransportError": _connection,
    "httpx2.TransportError": _connection,
    "requests.ConnectionError": _connection,
    "builtins.MemoryError": _memory,
    "builtins.UnicodeDecodeError": _encoding,
    "builtins.OSError": _os_error,
}


def explain(error: BaseException) -> Explanation | None:
    """What to tell the user, or ``None`` for an error that nobody has foreseen."""
    if isinstance(error, CogenError):
        return Explanation(_line(error), error.hint, error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Explanation("interrupted", None, INTERRUPTED)
    for kind in type(error).__mro__:
        known = TABLE.get(f"{kind.__module__.partition('.')[0]}.{kind.__name__}")
        if known and (explanation := known(error)):
            return explanation
    return None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

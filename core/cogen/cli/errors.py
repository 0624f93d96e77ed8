"""From an exception to `error: …`, `hint: …` and an exit code.

Third-party exceptions are recognised by name along their class hierarchy, so that no library is imported only to be
compared with. What the table does not know is a bug in cogen and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cogen.errors import CogenError
from cogen.system_errors import describe, find_in

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
    return None if isinstance(error, BrokenPipeError) else Explanation(*describe(error))


def _of_library(error: BaseException) -> Explanation | None:
    """An error of the system that a library in another language puts into words of its own."""
    found = find_in(str(error))
    return Explanation(*describe(found)) if found is not None else None


def _memory(error: BaseException) -> Explanation:
    return Explanation("out of memory", "close other programs, or use fewer or smaller experts")


def _device_memory(error: BaseException) -> Explanation:
    return Explanation(
        f"the GPU's memory is full: {_line(error).partition('.')[0]}",
        "choose another one with --device cuda:N, compute on the CPU with --device cpu, or lower batch_size",
    )


def _encoding(error: BaseException) -> Explanation:
    return Explanation(f"a file is not UTF-8 text: {_line(error)}", "convert it to UTF-8")


def _unencodable(error: BaseException) -> Explanation:
    return Explanation(f"a name is not text in UTF-8: {_line(error)}", "rename the file or folder that has it")


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
    "torch.OutOfMemoryError": _device_memory,
    "builtins.UnicodeDecodeError": _encoding,
    "builtins.UnicodeEncodeError": _unencodable,
    "builtins.OSError": _os_error,
    "builtins.Exception": _of_library,
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

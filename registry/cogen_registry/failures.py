"""What is said where it is the service, or a value that no database can hold, that keeps a request from being done."""

from __future__ import annotations

import errno
import re
from typing import Any

from sqlalchemy import exc
from starlette.requests import ClientDisconnect

from cogen_registry.errors import Refused
from cogen_registry.settings import Settings

#: Seconds after which it is worth to try again: a database restarts about as quickly.
_LATER = {"Retry-After": "10"}
_FULL = {errno.ENOSPC, errno.EDQUOT}
#: Of S3-compatible stores, for a full one.
_FULL_STORES = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"}
#: PostgreSQL's states: out of disk space; data that can't be (such as NUL in a text); numbers out of range.
_DISK_FULL, _BAD_DATA = "53100", "22"


def failure(error: BaseException) -> Refused | None:
    """How to answer an error that no handler expected: 507, 503 or 400; ``None``: it is a fault of this program."""
    if isinstance(error, exc.TimeoutError):
        return unavailable("all connections to the database are in use")
    if isinstance(error, exc.StatementError):
        return _database(error)
    if isinstance(error, OSError):
        return _disk(error)
    if isinstance(error, ClientDisconnect):
        return Refused(400, "the connection ended too early", hint="send it again")
    if isinstance(error, OverflowError):
        return impossible()
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        return impossible()  # half a surrogate, which JSON can spell
    if type(error).__module__.partition(".")[0] in ("botocore", "boto3", "s3transfer", "urllib3"):
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
        if code in _FULL_STORES or any(one in str(error) for one in _FULL_STORES if not one.isdigit()):
            return full()
        return unavailable("the store of files does not answer")
    return None


def full() -> Refused:
    return Refused(507, "the registry's disk is full", hint="tell its operator; nothing of this request was stored")


def unavailable(why: str) -> Refused:
    return Refused(503, why, hint="try again in a few seconds; if it stays so, tell the operator", headers=_LATER)


def impossible() -> Refused:
    return Refused(
        400, "the request holds a text or number that cannot be stored", hint="see /docs for what is expected"
    )


def _database(error: exc.StatementError) -> Refused | None:
    if isinstance(error, exc.IntegrityError | exc.ProgrammingError):
        return None
    origin: Any = error.orig
    state, text = str(getattr(origin, "sqlstate", None) or ""), str(origin)
    if state == _DISK_FULL or "disk is full" in text:
        return full()
    if isinstance(error, exc.DataError) or state.startswith(_BAD_DATA) or "NUL" in text:
        return impossible()
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError) or getattr(
        error, "connection_invalidated", False
    ):
        return unavailable("the database does not answer")
    return failure(origin) if origin is not None and not isinstance(origin, exc.StatementError) else None


def _disk(error: OSError) -> Refused | None:
    if error.errno in _FULL:
        return full()
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        return unavailable("the registry has too much to do")
    if error.errno in (errno.EIO, errno.EROFS):
        return unavailable("the registry's disk does not answer")
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        return impossible()
    return None


def store_errors(settings: Settings) -> tuple[type[Exception], ...]:
    """What an object store's client raises; nothing where blobs are files."""
    if settings.blobs is None:
        return ()
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return Boto3Error, BotoCoreError, ClientError


_HALF = re.compile("[\ud800-\udfff]")


def is_text(value: str) -> bool:
    """Whether every database can hold it: no NUL and no half of a surrogate."""
    return "\0" not in value and not _HALF.search(value)

"""The one way to say no."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: Characters of a message, and of a header: what strangers sent is quoted in them.
_LONGEST, _HEADER = 2000, 1000
#: What ends a line, or can't be sent at all: control characters and halves of surrogates.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Refused(Exception):
    """A request that is not carried out; nothing of it stays behind.

    :param status: HTTP status.
    :param message: One line, no full stop, that says what is wrong.
    :param hint: One line that says what to do about it.
    :param headers: What the protocol wants beside it, such as the Hub's ``X-Error-Code``.
    """

    def __init__(self, status: int, message: str, *, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, _line(message, _LONGEST), hint and _line(hint, _LONGEST)
        self.headers = {name: _header(value) for name, value in (headers or {}).items()}


def _line(text: str, most: int) -> str:
    plain = _NOT_TEXT.sub(" ", text)
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def _header(text: str) -> str:
    return _line(text, _HEADER).strip().encode("latin-1", "backslashreplace").decode("latin-1")


def not_found(what: str, hint: str) -> Refused:
    """404, in the same words whether it is hidden or not there."""
    return Refused(404, f"there is no {what}", hint=hint)


@contextmanager
def translated() -> Iterator[None]:
    """What a wheel may hold is said by :mod:`cogen.wheels`, for clients too; here it is an answer of HTTP.

    :raises Refused: 400 for what is wrong, 413 for what is too large.
    """
    from cogen.wheels.errors import WheelError

    try:
        yield
    except WheelError as error:
        status = 413 if error.too_large else 400
        raise Refused(status, error.message, hint=error.hint or "see docs/registry.md") from None

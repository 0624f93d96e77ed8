"""The outcome of one check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cogen.errors import CogenError


@dataclass(frozen=True)
class Check:
    """``ok``: True passed, False failed, None not run."""

    name: str
    ok: bool | None
    message: str
    hint: str | None = None


class Failed(Exception):
    """Raised inside a check to end it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def attempt(name: str, check: Callable[[], str]) -> Iterator[Check]:
    """Run one check, which returns what it found or raises :class:`Failed`; errors of the plugin become values."""
    try:
        yield Check(name, True, check())
    except Failed as error:
        yield Check(name, False, str(error), error.hint)
    except CogenError as error:
        yield Check(name, False, error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way; the next check goes on
        yield Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")

"""Arguments of a wrong type, found before anything is done: Python has no parser that would say so."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.errors import UsageError
from cogen.reporter import Reporter

if TYPE_CHECKING:
    from cogen.host import Host


def as_path(name: str, value: object) -> Path:
    """:raises UsageError: it is neither a text nor a path."""
    return Path(as_text(name, value))


def as_text(name: str, value: object) -> str:
    """A path, an id or a source as it is written: of a source's two slashes, a ``Path`` would keep one.

    :raises UsageError: it is neither a text nor a path.
    """
    if isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    raise UsageError(f"{name} must be a path, not {value!r}", hint=f"for example {name}='folder' or a pathlib.Path")


def as_names(name: str, value: object) -> list[str]:
    """One text or several; ``None``: nothing.

    :raises UsageError: something among them is no text.
    """
    if value is None:
        return []
    names = [value] if isinstance(value, str) else _listed(value)
    if names is None or not all(isinstance(item, str) for item in names):
        raise UsageError(f"{name} must be names, not {value!r}", hint=f"for example {name}=['power', 'materials']")
    return names


def as_paths(name: str, value: object) -> tuple[str, ...]:
    """One path or several, as texts.

    :raises UsageError: something among them is no path.
    """
    paths = None if isinstance(value, str | os.PathLike) else _listed(value)
    return tuple(as_text(name, path) for path in ([value] if paths is None else paths))


def as_mapping(name: str, value: object) -> dict[str, Any]:
    """:raises UsageError: it is no mapping."""
    if isinstance(value, Mapping):
        return dict(value)
    raise UsageError(f"{name} must be a mapping, not {value!r}", hint="for example {'density': 0.3}")


def as_host(host: object) -> Host:
    """The host, or the one of this environment.

    :raises UsageError: it is something else.
    """
    from cogen.host import Host

    if host is None:
        return Host.discover()
    if isinstance(host, Host):
        return host
    raise UsageError(f"host must be a cogen.Host, not {host!r}", hint="leave it out, or pass cogen.Host.discover()")


def check_reporter(reporter: object) -> None:
    """:raises UsageError: a method of :class:`~cogen.reporter.Reporter` is missing."""
    if not isinstance(reporter, Reporter):
        raise UsageError(
            f"reporter must have the methods describe, advance and note, and {reporter!r} has not",
            hint="leave it out, or see cogen.Reporter",
        )


def check_callable(name: str, value: object) -> None:
    """:raises UsageError: it is neither ``None`` nor a function."""
    if value is not None and not callable(value):
        raise UsageError(f"{name} must be a function, not {value!r}", hint="leave it out, or pass a function")


def check_number(name: str, value: object, lowest: float, *, whole: bool = False) -> None:
    """:raises UsageError: it is no finite number, or below ``lowest``."""
    kind = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind) or not lowest <= float(value) < float("inf"):
        meant = "a whole number" if whole else "a number"
        raise UsageError(
            f"{name} must be {meant} of at least {lowest:g}, not {value!r}", hint=f"leave {name} out, or give another"
        )


def _listed(value: object) -> list[Any] | None:
    """The items of a list, a generator and the like; ``None`` of anything else."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray) else None

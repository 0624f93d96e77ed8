"""The registry that a verb works with."""

from __future__ import annotations

from cogen.errors import UsageError
from cogen.trust.registries import Registry, chosen


def required(url: str | None = None) -> Registry:
    """:raises UsageError: none was named and none is configured."""
    found = chosen(url)
    if found is None:
        raise UsageError("no registry is configured", hint="`cogen login URL` names one, or pass --registry URL")
    return found

"""What can be wrong between here and a registry."""

from __future__ import annotations

from cogen.errors import CogenError


class RegistryError(CogenError):
    """The registry can't be reached, or says no. ``status``: of HTTP, ``None`` where there was no answer."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotThere(RegistryError):
    """The registry has no such thing, or not for us."""

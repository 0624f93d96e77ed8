"""What is wrong with a wheel."""

from __future__ import annotations

from cogen.errors import CogenError


class WheelError(CogenError):
    """A wheel holds what no plugin may hold, or is not a wheel.

    :param too_large: it is only more than is allowed: a registry answers 413, and not 400.
    """

    def __init__(self, message: str, *, hint: str | None = None, too_large: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.too_large = too_large

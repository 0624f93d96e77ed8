"""What a wheel file holds: :mod:`cogen.wheels` says what it may hold, here and everywhere else."""

from __future__ import annotations

from cogen.wheels import Wheel, read_wheel

__all__ = ["Wheel", "read_wheel"]

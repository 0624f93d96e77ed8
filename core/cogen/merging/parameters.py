"""Parameters that differ by tensor: gradients over the layers and name filters, as in mergekit's recipes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from cogen.errors import UsageError

Scalar = bool | float | str
_NUMBER = re.compile(r"\.(\d+)\.")


class StrictModel(BaseModel):
    """Immutable; unknown fields and infinite numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Conditional(StrictModel):
    """A value for tensors whose name contains ``filter``; without a filter, or with ``*``, for all."""

    value: Scalar | tuple[Scalar, ...]
    filter: str | None = None


#: A number; a gradient over the layers, first to last, interpolated; or the first of several conditions that fits.
Setting = Scalar | tuple[Scalar, ...] | tuple[Conditional, ...]


def scalars(setting: Any) -> list[Scalar]:
    """Every number, switch and text in a setting; nothing of other objects."""
    if isinstance(setting, Conditional):
        return scalars(setting.value)
    if isinstance(setting, tuple | list):
        return [value for part in setting for value in scalars(part)]
    return [setting] if isinstance(setting, bool | int | float | str) else []


class Layers:
    """Where in the model a tensor stands, from the names of all tensors; no table of architectures.

    A tensor with a number in its name (``model.layers.7.mlp…``) belongs to a layer; its position runs from 0 at the
    first to 1 at the last of those with the same prefix, and is 1 where there is only one. Everything outside the
    layers stands at 0. That is what mergekit does, so that a recipe means the same here.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._last: dict[str, int] = {}
        for name in names:
            if match := _NUMBER.search(name):
                prefix = name[: match.start()]
                self._last[prefix] = max(self._last.get(prefix, 0), int(match[1]))

    def position(self, name: str) -> float:
        """0 to 1."""
        match = _NUMBER.search(name)
        if not match:
            return 0.0
        last = self._last.get(name[: match.start()], 0)
        return int(match[1]) / last if last else 1.0


def resolve(setting: Setting, name: str, position: float) -> Scalar | None:
    """The value for one tensor; ``None`` where no condition fits."""
    if not isinstance(setting, tuple | list):
        return setting
    conditions = [part for part in setting if isinstance(part, Conditional)]
    if conditions:
        fitting = (c for c in conditions if c.filter is None or c.filter == "*" or c.filter in name)
        first = next(fitting, None)
        return None if first is None else resolve(first.value, name, position)
    return _interpolate([part for part in setting if not isinstance(part, Conditional)], position)


def _interpolate(values: Sequence[Scalar], position: float) -> Scalar:
    """Linear between neighbours; values that are not all numbers are steps."""
    place = position * (len(values) - 1)
    low = int(place)
    if any(isinstance(value, bool | str) for value in values):
        return values[low]
    lower, upper = float(values[low]), float(values[min(low + 1, len(values) - 1)])
    share = place - low
    return values[low] if share == 0 else (1 - share) * lower + share * upper


def for_tensor(
    name: str,
    position: float,
    common: Mapping[str, Setting],
    own: Iterable[Mapping[str, Setting]],
    per_expert: Iterable[str],
) -> dict[str, Any]:
    """A method's keyword arguments for one tensor.

    :param common: settings of the whole merge; a parameter for which no condition fits keeps the method's default.
    :param own: settings of each expert; they win over the common ones, for parameters that may differ by expert.
    :raises UsageError: a setting of an expert that cannot differ by expert, or that only some experts have.
    """
    shared: dict[str, Any] = {
        key: found for key, value in common.items() if (found := resolve(value, name, position)) is not None
    }
    owners = list(own)
    several = set(per_expert)
    for key in sorted({key for settings in owners for key in settings}):
        if key not in several:
            raise UsageError(f"{key} cannot differ by expert", hint="move it out of the expert's own settings")
        values = [
            shared.get(key) if (setting := settings.get(key)) is None else resolve(setting, name, position)
            for settings in owners
        ]
        if any(value is None for value in values):
            raise UsageError(
                f"only some experts have a {key} for {name}", hint=f"give {key} to all experts, or a common value"
            )
        shared[key] = tuple(values)
    return shared

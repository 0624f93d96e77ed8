"""Values with a form of their own on the command line: ID=WEIGHT, NAME=VALUE, NAME=LOW:HIGH."""

from __future__ import annotations

import re
from typing import Any


def read_experts(items: list[str] | None) -> dict[str, float] | None:
    """``ID`` or ``ID=WEIGHT`` each; ``None``: every installed expert.

    :raises UsageError: a weight that is not a number, or an expert with two weights.
    """
    from cogen.errors import UsageError

    weights: dict[str, float] = {}
    for name, weight in map(_weighted, items or ()):
        if weights.setdefault(name, weight) != weight:
            raise UsageError(f"{name} has two weights, {weights[name]:g} and {weight:g}", hint="name it once")
    return weights or None


def _weighted(item: str) -> tuple[str, float]:
    from cogen.errors import UsageError

    name, equals, value = item.partition("=")
    try:
        return name, float(value) if equals else 1.0
    except ValueError as error:
        raise UsageError(f"{item!r} is not ID=WEIGHT", hint="for example power=0.5") from error


def read_setting(item: str) -> tuple[str, Any]:
    """NAME=VALUE as in a recipe: a TOML value, or a word without its quotes, which a shell would take away."""
    import tomllib

    from cogen.errors import UsageError

    name, _, text = item.partition("=")
    try:
        value: dict[str, Any] = {"value": float(text)}
    except ValueError:
        try:
            value = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            value = {"value": text} if re.fullmatch(r"[A-Za-z_][\w.-]*", text) else {}
    if list(value) != ["value"] or not name:
        raise UsageError(
            f"{item!r} is not NAME=VALUE",
            hint='for example --set density=0.3, --set normalize=false or --set "density=[0.3, 0.7]"',
        )
    return name, value["value"]


def read_bounds(item: str) -> tuple[str, tuple[float, float]]:
    """``NAME=LOW:HIGH``."""
    from cogen.errors import UsageError

    name, _, value = item.partition("=")
    low, _, high = value.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError as error:
        hint = "for example --tune density=0.2:0.9, or --tune weight.power=0:2"
        raise UsageError(f"{item!r} is not NAME=LOW:HIGH", hint=hint) from error

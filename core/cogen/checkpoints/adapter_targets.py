"""Which layers peft puts an adapter on, where its configuration lists them by name.

A file may hold factors of other layers: peft leaves those out without a word, so they are no part of the adapter.
Regular expressions are not run here; the tensors of such an adapter are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def not_targeted(config: dict[str, Any], names: Sequence[str]) -> tuple[str, str] | None:
    """The first weight that peft would leave out, and the option that says so: (option, weight).

    :param names: weights that have factors, ``model.layers.0.mlp.up_proj.weight``.
    """
    targets, excluded = config.get("target_modules"), config.get("exclude_modules")
    if not isinstance(targets, list) or not targets:
        return None
    tied = config.get("ensure_weight_tying") is True  # peft adds the other end of what is tied by itself
    for name in names:
        module = name.removesuffix(".weight")
        if not _ends_with(module, targets) and not tied:
            return "target_modules", name
        if isinstance(excluded, list) and _ends_with(module, excluded):
            return "exclude_modules", name
        if not _in_layers(config, module, targets):
            return "layers_to_transform", name
    return None


def _ends_with(module: str, targets: Sequence[str]) -> bool:
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _in_layers(config: dict[str, Any], module: str, targets: Sequence[str]) -> bool:
    given = config.get("layers_to_transform")
    layers = [given] if isinstance(given, int) else given
    if not layers or module in targets:  # a module that is named in full is in any layer
        return True
    patterns = config.get("layers_pattern") or []
    number = _layer(module, [patterns] if isinstance(patterns, str) else patterns)
    return number is not None and number in layers


def _layer(module: str, patterns: Sequence[str]) -> int | None:
    """The number of its layer: the first between two points, behind one of the names if there are any."""
    parts = module.split(".")
    for place in range(1 if patterns else 2, len(parts) - 1):
        if parts[place].isdecimal() and (not patterns or parts[place - 1] in patterns):
            return int(parts[place])
    return None

"""Layers of a model, from the numbers in the names of its tensors; no table of architectures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cogen.errors import CompatibilityError
from cogen.merging.mergekit.models import Model

_NUMBER = re.compile(r"\.(\d+)\.")
#: What comes before the first layer: embeddings of all kinds, but not a head that is called one (GPT-NeoX).
_BEFORE = re.compile(r"emb|wte|wpe|relative_pe")
#: What architectures compute for themselves and older versions of transformers saved all the same.
_COMPUTED = re.compile(r"\.rotary_emb\.inv_freq$|\.masked_bias$")
_MASK = re.compile(r"\.attn\.bias$|\.attention\.bias$")


class Place(NamedTuple):
    """``model.layers.7.mlp.up_proj.weight`` is ("model.layers", 7, "mlp.up_proj.weight")."""

    prefix: str
    layer: int
    rest: str

    def name(self, layer: int) -> str:
        """The same tensor of another layer."""
        return f"{self.prefix}.{layer}.{self.rest}"


def place_of(name: str) -> Place | None:
    """The layer of a tensor, by the first number in its name; ``None`` outside the layers."""
    match = _NUMBER.search(name)
    return Place(name[: match.start()], int(match[1]), name[match.end() :]) if match else None


def is_before(name: str) -> bool:
    """Of a tensor outside the layers: does it come before them?"""
    return bool(_BEFORE.search(name)) and "embed_out" not in name


def is_computed(name: str, shape: tuple[int, ...]) -> bool:
    """Is it a buffer that every model makes for itself when it is loaded?"""
    return bool(_COMPUTED.search(name)) or (bool(_MASK.search(name)) and len(shape) == 4)


def stacks(names: Iterable[str]) -> dict[str, int]:
    """Prefix of numbered tensors → the number of layers."""
    found: dict[str, int] = {}
    for name in names:
        if place := place_of(name):
            found[place.prefix] = max(found.get(place.prefix, 0), place.layer + 1)
    return found


def only_stack(model: Model) -> tuple[str, int]:
    """Prefix and number of layers of a model that can be sliced.

    :raises CompatibilityError: it has none, or several (a vision tower, an encoder beside a decoder).
    """
    found = stacks(model.checkpoint.tensors)
    if len(found) != 1:
        listed = " and ".join(sorted(found)) or "none"
        raise CompatibilityError(
            f"slices need a model with one stack of layers; {model.title} has {listed}",
            hint="merge whole models, with models instead of slices",
        )
    return next(iter(found.items()))

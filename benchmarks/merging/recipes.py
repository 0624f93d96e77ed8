"""A merge in mergekit's words, as data: its YAML, and which parameters it gives to which tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

#: Of each method the parameters that every model has its own value of, and their defaults (`None`: none is needed).
OWN: dict[str, dict[str, Any]] = {
    "linear": {"weight": None},
    "passthrough": {"scale": None},
    "nuslerp": {"weight": None},
    "multislerp": {"weight": None},
    "task_arithmetic": {"weight": None},
    "ties": {"weight": None, "density": 1.0},
    "breadcrumbs": {"weight": None, "density": 1.0, "gamma": 0.01},
    "breadcrumbs_ties": {"weight": None, "density": 1.0, "gamma": 0.01},
    "dare_linear": {"weight": None, "density": 1.0},
    "dare_ties": {"weight": None, "density": 1.0},
    "della": {"weight": None, "density": 1.0, "epsilon": 0.15},
    "della_linear": {"weight": None, "density": 1.0, "epsilon": 0.15},
}


@dataclass(frozen=True)
class Source:
    """Layers [first, last) of a model, with their own settings."""

    model: str
    first: int
    last: int
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """The next layers of the result, made of those of every source."""

    sources: Sequence[Source]
    common: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What one tensor of the result is made of: (model, name of its tensor) of the base and of each other one."""

    base: tuple[str, str] | None
    tensors: Sequence[tuple[str, str]]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """``models``: a model's name → its own settings; or ``slices`` of layers. ``base`` is one of them or one more."""

    method: str
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    base: str | None = None
    common: Mapping[str, Any] = field(default_factory=dict)
    #: Further top-level keys, e.g. dtype.
    top: Mapping[str, Any] = field(default_factory=dict)
    slices: Sequence[Slice] = ()

    def text(self, folders: Mapping[str, Path]) -> str:
        """The YAML, with the models where they are."""

        def part(name: str, own: Mapping[str, Any], **more: Any) -> dict[str, Any]:
            return {"model": str(folders[name])} | more | ({"parameters": dict(own)} if own else {})

        written: dict[str, Any] = {"merge_method": self.method}
        if self.models:
            written["models"] = [part(name, own) for name, own in self.models.items()]
        if self.slices:
            written["slices"] = [
                {"sources": [part(s.model, s.own, layer_range=[s.first, s.last]) for s in piece.sources]}
                | ({"parameters": dict(piece.common)} if piece.common else {})
                for piece in self.slices
            ]
        if self.base is not None:
            written["base_model"] = str(folders[self.base])
        if self.common:
            written["parameters"] = dict(self.common)
        return yaml.safe_dump(written | dict(self.top), sort_keys=False)

    def inputs(self, tensor: str, layers: int) -> Inputs:
        """What goes into one tensor of the result, of models with that many layers.

        Embeddings are those of the first slice's sources, everything else outside the layers is of the last slice's.
        """
        whole = Slice([Source(name, 0, layers, own) for name, own in self.models.items()])
        slices = list(self.slices) or [whole]
        number = re.search(r"\.(\d+)\.", tensor)
        if number is None:
            piece, offset, position = slices[0 if "embed_tokens" in tensor or "embed_in" in tensor else -1], None, 0.0
        else:
            offset = int(number[1])
            for piece in slices:
                length = piece.sources[0].last - piece.sources[0].first
                if offset < length:
                    break
                offset -= length
            position = offset / (length - 1) if length > 1 else 1.0
        tensors, owned = [], []
        base = None if self.base is None else (self.base, tensor)
        for source in piece.sources:
            name = tensor if offset is None else re.sub(r"\.\d+\.", f".{source.first + offset}.", tensor, count=1)
            if source.model == self.base:
                base = (source.model, name)
            else:
                tensors.append((source.model, name))
                owned.append(source.own)
        return Inputs(base, tensors, self._parameters(tensor, tensors, owned, piece.common, position))

    def _parameters(
        self,
        tensor: str,
        tensors: Sequence[tuple[str, str]],
        owned: Sequence[Mapping[str, Any]],
        common: Mapping[str, Any],
        position: float,
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, default in OWN.get(self.method, {}).items():
            found[key] = [
                _first([own, common, self.common], key, name, position, default)
                for own, (_, name) in zip(owned, tensors, strict=True)
            ]
        for key in {*common, *self.common} - {*found, "int8_mask"}:  # int8_mask: how it computes, not what
            value = _first([common, self.common], key, tensor, position, None)
            if value is not None:
                found["scale" if key == "lambda" else key] = value
        return found


def _first(settings: Sequence[Mapping[str, Any]], key: str, tensor: str, position: float, default: Any) -> Any:
    """The value by the first setting that has one for the tensor."""
    values = (settled(setting[key], tensor, position) for setting in settings if key in setting)
    return next((value for value in values if value is not None), default)


def settled(setting: Any, tensor: str, position: float) -> Any:
    """A number; a list along the layers; or the first of several conditions whose filter is part of the tensor's name.

    ``position`` is 0 at the first layer of a slice and 1 at the last; outside the layers it is 0, of an only layer 1.
    """
    if not isinstance(setting, list):
        return setting
    if setting and isinstance(setting[0], dict):
        for condition in setting:
            if condition.get("filter", "*") == "*" or condition["filter"] in tensor:
                return settled(condition["value"], tensor, position)
        return None
    place = position * (len(setting) - 1)
    low = min(int(place), len(setting) - 2)
    return setting[low] * (1 - (place - low)) + setting[low + 1] * (place - low)

"""A model of a recipe: ``folder`` or ``organization/name``, with a revision and an adapter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.untrusted.paths import is_folder, user_path


@dataclass(frozen=True)
class ModelLocation:
    """A folder, or a repository of the Hub with a revision."""

    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path

    @property
    def folder(self) -> Path:
        return user_path(self.path)


@dataclass(frozen=True)
class Reference:
    """A model, or a model with a LoRA adapter over it."""

    model: ModelLocation
    lora: ModelLocation | None = None

    def __str__(self) -> str:
        return f"{self.model}+{self.lora}" if self.lora else str(self.model)


def parse_reference(value: Any) -> Reference:
    """``model[@revision][+adapter[@revision]]``, or the same as a mapping of ``model`` and ``lora``.

    :raises ValueError: it is neither, or uses an unsupported key.
    """
    if isinstance(value, Reference):
        return value
    if isinstance(value, dict):
        if "override_architecture" in value:
            raise ValueError("override_architecture is not supported: tensors are matched by name and shape")
        if unknown := sorted(map(str, value.keys() - {"model", "lora"})):
            raise ValueError(f"unknown key {unknown[0]!r} of a model")
        if "model" not in value:
            raise ValueError("a model needs the key 'model'")
        lora = value.get("lora")
        return Reference(_location(value["model"]), None if lora is None else _location(lora))
    if isinstance(value, str) and is_folder(value):
        return Reference(ModelLocation(value))  # a folder may have + and @ in its name
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a model: write a folder, or organization/name")
    parts = value.split("+")
    if len(parts) > 2:
        raise ValueError(f"{value!r} has more than one +: write model+adapter")
    return Reference(_location(parts[0]), _location(parts[1]) if len(parts) == 2 else None)


def _location(value: Any) -> ModelLocation:
    if isinstance(value, dict):
        if unknown := sorted(map(str, value.keys() - {"path", "revision"})):
            raise ValueError(f"unknown key {unknown[0]!r} of a model location")
        path, revision = value.get("path"), value.get("revision")
        if not isinstance(path, str) or not isinstance(revision, str | None):
            raise ValueError("path and revision of a model must be strings")
        return _check_location(ModelLocation(path, revision))
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a model: write a folder, or organization/name")
    if is_folder(value):
        return ModelLocation(value)
    path, at, revision = value.partition("@")
    if "@" in revision:
        raise ValueError(f"{value!r} has more than one @: write model@revision")
    if at and not revision:
        raise ValueError(f"{value!r} has no revision after the @")
    return _check_location(ModelLocation(path, revision or None))


def _check_location(place: ModelLocation) -> ModelLocation:
    if not place.path.strip():
        raise ValueError("a model needs a name")
    if re.search(r"[\r\n\0]", place.path):
        raise ValueError("the name of a model must be one line")
    return place

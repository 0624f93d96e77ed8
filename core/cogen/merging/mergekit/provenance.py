"""``merge.json``: what a merged folder was made of, and how; the same run writes the same bytes."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.merging.mergekit.models import Model
from cogen.merging.mergekit.steps import TensorStep
from cogen.merging.mergekit.tensors import Input

MERGE = "merge.json"


@dataclass(frozen=True)
class Record:
    """``keys``: a fingerprint of every model's content (:func:`cogen.merging.operands.fingerprint`)."""

    method: str
    recipe: str
    seed: int
    models: tuple[Model, ...]
    keys: tuple[str, ...]
    donor: int
    steps: tuple[TensorStep, ...]
    notes: tuple[str, ...]

    def value(self) -> dict[str, Any]:
        """As JSON; models are named by their number in ``models``."""
        return {
            "version": 1,
            "cogen": importlib.metadata.version("cogen-core"),
            "method": self.method,
            "seed": self.seed,
            "recipe": self.recipe,
            "config_from": self.donor,
            "models": [
                {
                    "reference": model.title,
                    "commit": model.commit,
                    "adapter_commit": model.lora_commit,
                    "fingerprint": key,
                }
                for model, key in zip(self.models, self.keys, strict=True)
            ],
            "tensors": _groups(self.steps),
            "notes": list(self.notes),
        }


def write_record(record: Record, folder: Path) -> None:
    text = json.dumps(record.value(), indent=1, ensure_ascii=False) + "\n"
    (folder / MERGE).write_text(text, encoding="utf-8")


def _groups(steps: Sequence[TensorStep]) -> list[dict[str, Any]]:
    """Tensors of which the same was made in the same way, together."""
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        how = _how(step)
        group = found.setdefault(json.dumps(how), {**how, "names": []})
        group["names"].append(step.name)
    return list(found.values())


def _how(step: TensorStep) -> dict[str, Any]:
    moved = {entry.stored for entry in (*step.experts, *([step.base] if step.base else []))} - {step.name}
    how: dict[str, Any] = {"method": step.method.name if step.method else "copy", "dtype": step.dtype}
    if step.base is not None:
        how["base"] = step.base.model
    how["models"] = [entry.model for entry in step.experts]
    if moved:  # another layer, or an embedding that stands for a head
        how["tensors"] = [entry.stored for entry in _all(step)]
    if step.method is not None:
        how |= {"weights": list(step.weights), "parameters": dict(step.parameters or {})}
    return how


def _all(step: TensorStep) -> list[Input]:
    return [*([step.base] if step.base else []), *step.experts]

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
    """``keys``: a fingerprint for every model, by its content (:func:`cogen.merging.operands.fingerprint`)."""

    method: str
    recipe: str
    seed: int
    models: tuple[Model, ...]
    keys: tuple[str, ...]
    donor: int
    works: tuple[TensorStep, ...]
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
            "tensors": _groups(self.works),
            "notes": list(self.notes),
        }


def write_record(record: Record, folder: Path) -> None:
    text = json.dumps(record.value(), indent=1, ensure_ascii=False) + "\n"
    (folder / MERGE).write_text(text, encoding="utf-8")


def _groups(works: Sequence[TensorStep]) -> list[dict[str, Any]]:
    """Tensors of which the same was made in the same way, together."""
    found: dict[str, dict[str, Any]] = {}
    for work in works:
        how = _how(work)
        group = found.setdefault(json.dumps(how), {**how, "names": []})
        group["names"].append(work.name)
    return list(found.values())


def _how(work: TensorStep) -> dict[str, Any]:
    moved = {entry.stored for entry in (*work.experts, *([work.base] if work.base else []))} - {work.name}
    how: dict[str, Any] = {"method": work.method.name if work.method else "copy", "dtype": work.dtype}
    if work.base is not None:
        how["base"] = work.base.model
    how["models"] = [entry.model for entry in work.experts]
    if moved:  # another layer, or an embedding that stands for a head
        how["tensors"] = [entry.stored for entry in _all(work)]
    if work.method is not None:
        how |= {"weights": list(work.weights), "parameters": dict(work.parameters or {})}
    return how


def _all(work: TensorStep) -> list[Input]:
    return [*([work.base] if work.base else []), *work.experts]

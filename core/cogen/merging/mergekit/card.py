"""``README.md`` of a merged folder: a model card in the Hub's format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cogen.merging.mergekit.models import Model
from cogen.merging.mergekit.provenance import MERGE, Record

CARD = "README.md"


def write_card(record: Record, folder: Path) -> None:
    """Front matter for the Hub, then the models, the recipe, notes and limits."""
    (folder / CARD).write_text(f"---\n{_metadata(record)}\n---\n\n{_body(record)}", encoding="utf-8")


def _metadata(record: Record) -> str:
    from huggingface_hub import ModelCardData

    bases = list(dict.fromkeys(name for model in record.models for name in _repositories(model)))
    extra: dict[str, Any] = {"base_model_relation": "merge"} if bases else {}
    data = ModelCardData(
        library_name="transformers", tags=["cogen", "merge", record.method], base_model=bases or None, **extra
    )
    return str(data.to_yaml())


def _repositories(model: Model) -> list[str]:
    found = [model.reference.model.path] if model.commit else []
    return found + ([model.reference.lora.path] if model.lora_commit and model.reference.lora else [])


def _body(record: Record) -> str:
    rows = [
        f"| {number} | {_code(model.title)} | {_code(model.commit) if model.commit else 'folder'} | {_code(key[:12])} |"
        for number, (model, key) in enumerate(zip(record.models, record.keys, strict=True))
    ]
    copied = sum(step.method is None for step in record.steps)
    return "\n".join(
        [
            "# Merged language model",
            "",
            f"Made by CoGen out of {len(rows)} model{'' if len(rows) == 1 else 's'} with the method "
            f"{_code(record.method)} (seed {record.seed}): {len(record.steps)} tensors, {copied} of them copied "
            f"unchanged. Configuration: model {record.donor}. {MERGE} lists what was done to each tensor.",
            "",
            "| number | model | commit | fingerprint |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "## Recipe",
            "",
            *_block(record.recipe),
            "",
            "To reproduce the same bits, save the recipe as recipe.yml and run",
            f"`cogen merge recipe.yml --seed {record.seed} -o DIR`.",
            "",
            *(["## Notes", "", *[f"- {_text(note)}" for note in record.notes], ""] if record.notes else []),
            "## Limits",
            "",
            "The model has not been evaluated: run `cogen eval DIR`. The licenses of the models above apply to it.",
            "",
        ]
    )


def _block(text: str) -> list[str]:
    """A fenced block; its fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}yaml", *text.rstrip("\n").split("\n"), fence]


def _code(text: str) -> str:
    """Untrusted text as code in a table cell, which it cannot break out of."""
    plain = re.sub(r"[`|\s]+", " ", text).strip()
    return f"`{plain}`"


def _text(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))

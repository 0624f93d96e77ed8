"""The rules by which the Hub checks a model card's metadata, for tests without a network.

Source: huggingface.co/docs/hub/model-cards (modelcard.md in hub-docs) and the messages of the Hub's validation.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

RELATIONS = ("adapter", "finetune", "merge", "quantized")
_REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")
_DATASET = re.compile(r"([\w-]+/)?[\w.-]+")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")


def faults(card: str) -> list[str]:
    """What the Hub would refuse; empty for a valid card."""
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    if not found:
        return ["no metadata"]
    data = yaml.safe_load(found[1])
    return [*_front(data), *(fault for entry in data.get("model-index", ()) for fault in _index(entry))]


def _front(data: dict[str, Any]) -> list[str]:
    wrong = []
    for key in ("license", "library_name", "pipeline_tag", "base_model_relation", "license_name"):
        if key in data and not isinstance(data[key], str):
            wrong.append(f"{key} is no text")
    if not _LICENSE.fullmatch(str(data.get("license", "other"))):
        wrong.append(f"license {data['license']}")
    if data.get("license") == "other" and not data.get("license_name"):
        wrong.append("license other without license_name")
    if data.get("base_model_relation", "merge") not in RELATIONS:
        wrong.append(f"base_model_relation {data['base_model_relation']}")
    for key, pattern in (("language", _LANGUAGE), ("base_model", _REPO)):
        values = data.get(key) or []
        wrong += [f"{key} {v}" for v in ([values] if isinstance(values, str) else values) if not pattern.fullmatch(v)]
    wrong += [f"tag {tag!r}" for tag in data.get("tags", ()) if not isinstance(tag, str) or " " in tag or not tag]
    return wrong


def _index(entry: dict[str, Any]) -> list[str]:
    wrong = [] if isinstance(entry.get("name"), str) else ["model-index without a name"]
    for result in entry.get("results", ()):
        dataset, task = result.get("dataset", {}), result.get("task", {})
        if not isinstance(task.get("type"), str):
            wrong.append("result without a task")
        if not _DATASET.fullmatch(str(dataset.get("type", ""))):
            wrong.append(f"dataset.type {dataset.get('type')}")
        if not isinstance(dataset.get("name"), str):
            wrong.append("dataset without a name")
        for metric in result.get("metrics") or [{}]:
            if not isinstance(metric.get("type"), str) or not isinstance(metric.get("value"), int | float):
                wrong.append("metric without type or value")
    return wrong

"""The JSON schema of ``expert.toml`` as a file of the package, and how it is made.

python -m cogen.spec.schema     writes it anew after a change of the contract
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("expert.schema.json")


def published() -> dict[str, Any]:
    """The schema that ships with this version."""
    schema: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return schema


def generate() -> dict[str, Any]:
    """The schema of the models as they are now."""
    from cogen.spec.expert import ExpertSpec

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:cogen:expert:1",
        **ExpertSpec.model_json_schema(),
    }


def render() -> str:
    """The text of the file."""
    return json.dumps(generate(), indent=2, ensure_ascii=False) + "\n"

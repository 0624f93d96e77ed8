"""The published JSON schema is that of the models."""

from __future__ import annotations

from cogen.spec.schema import FILE, generate, published, render


def test_published_schema_is_current() -> None:
    """After a change of the contract: ``python -m cogen.spec.schema``."""
    assert FILE.read_text(encoding="utf-8") == render()
    assert published() == generate()


def test_schema_refuses_unknown_fields() -> None:
    """Every object of the schema is closed, as the models are."""
    schema = generate()
    objects = [schema, *schema["$defs"].values()]
    assert all(item["additionalProperties"] is False for item in objects if item.get("type") == "object")

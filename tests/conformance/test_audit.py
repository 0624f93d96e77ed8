"""`cogen check --level full` asks an expert of private text for its privacy audit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.manifests import manifest

from cogen.conformance.audit import check_audit
from cogen.spec.expert import ExpertSpec

AUDIT = {
    "date": "2026-11-30",
    "verdict": "no leak found",
    "canaries": 10,
    "canary_exposure": 2.5,
    "canary_exposure_most": 10.0,
    "extraction_prefixes": 100,
    "extraction": 0.0,
    "extraction_base": 0.0,
    "membership_documents": 200,
    "membership_auc": 0.5,
    "membership_low": 0.42,
    "membership_high": 0.58,
    "passes": 1.0,
    "notes": ["n = 3"],
}


def outcome(version: int = 2, audit: dict[str, Any] | None = None, **data: Any) -> list[tuple[bool | None, str]]:
    document = manifest("power", schema_version=version)
    document["data"] |= data | ({"audit": audit} if audit else {})
    expert: Any = SimpleNamespace(spec=ExpertSpec.model_validate(document))
    return [(check.ok, check.message) for check in check_audit(expert)]


def test_public_text_needs_none() -> None:
    assert outcome(personal_data="none") == []


@pytest.mark.parametrize("kind", ["present", "unknown"])
def test_private_text_needs_one(kind: str) -> None:
    """A manifest of version 1 could hold none: it is named there, and fails nothing."""
    message = "its training text is private, and the card holds no privacy audit"
    assert outcome(personal_data=kind) == [(False, message)]
    assert outcome(1, personal_data=kind) == [(None, message)]


@pytest.mark.parametrize("level", ["nothing", "figures"])
def test_text_that_stays_needs_one(level: str) -> None:
    sources = manifest("power")["data"]["sources"]
    sources = [source | {"leaves": level, "heldout": False} for source in sources]
    assert [ok for ok, _ in outcome(personal_data="none", sources=sources)] == [False]


def test_verdicts() -> None:
    """A leak of private text fails; of public text it is reported. A doubt fails nothing."""
    leaks = AUDIT | {"verdict": "leaks", "notes": ["3 of 100 continuations"]}
    assert outcome(personal_data="present", audit=AUDIT) == [(True, "privacy audit of 2026-11-30: no leak found")]
    assert outcome(personal_data="present", audit=leaks) == [
        (False, "privacy audit of 2026-11-30: leaks: 3 of 100 continuations")
    ]
    assert outcome(personal_data="none", audit=leaks)[0][0] is True
    doubt = AUDIT | {"verdict": "not conclusive", "notes": ["canaries: not checked"]}
    assert outcome(personal_data="present", audit=doubt)[0][0] is True

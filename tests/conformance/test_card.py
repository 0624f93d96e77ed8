"""What a data card counts must add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.manifests import make_expert, manifest

from cogen.conformance.card import check_card
from cogen.conformance.result import Failed


def card(*sources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The card of the tests' plugin with these sources, each with fields changed."""
    whole = manifest("power")["data"]
    return whole | {"sources": [whole["sources"][0] | source for source in sources]} | changes


def split(documents: int) -> dict[str, Any]:
    return {
        "by": "file",
        "train_documents": documents,
        "dev_documents": 10,
        "test_documents": 30,
        "removed_duplicates": 0,
        "removed_overlapping": 0,
        "test_8gram_overlap": 0.0,
    }


def training(part: str, documents: int) -> dict[str, Any]:
    measured = {"part": part, "documents": documents, "bytes": 100, "before": 2.0, "after": 1.0}
    return {
        "recipe_digest": "sha256:" + "0" * 64,
        "mode": "full",
        "order": "shuffled",
        "seed": 1,
        "tokens": 1000,
        "steps": 10,
        "hyperparameters": {},
        "hardware": "a CPU",
        "threads": 1,
        "seconds": 1.0,
        "software": {},
        "measured": [measured],
    }


A, B = {"name": "a", "tokens": 250, "share": 0.25}, {"name": "b", "tokens": 750, "share": 0.75}


@pytest.mark.parametrize(
    "data",
    [
        card(A, B),
        card(A, B, split=split(80)),
        card(A | {"share": 0.2504}, B | {"share": 0.7496}),  # rounded
        card(A | {"share": "unknown"}, B | {"tokens": "unknown", "documents": "unknown"}, split=split(7)),
        card({"tokens": 0, "bytes": 0, "documents": 0, "share": 0.0}, {"tokens": 5}),
        card({}, training=training("test", 30)),
        card({}) | {"sources": "unknown"},
    ],
)
def test_a_card_that_adds_up(tmp_path: Path, data: dict[str, Any]) -> None:
    """Sums hold within their rounding; a sum with an unknown term is not compared."""
    assert check_card(make_expert(tmp_path, data=data)).startswith("complete and adds up")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (card(A, B | {"share": 0.8}), "shares add up to 1.0500, not to 1"),
        (card(A, A), "shares add up to 0.5000, not to 1"),
        (card(A | {"share": 0.9}, B | {"share": "unknown"}, A | {"share": 0.2}), "shares add up to 1.1000"),
        (card(A | {"share": 0.75}, B | {"share": 0.25}), "source a has 250 of 1,000 tokens, a share of 0.2500"),
        (card(A, B | {"documents": 0}), "source b has 0 documents, 4000 bytes, 750 tokens"),
        (card(A, B, split=split(79)), "the sources have 80 documents, `split` says 79"),
        (card({}, training=training("test", 31)), "measured 31 documents of the test split, the suites have 30"),
        (card({}, training=training("dev", 11)), "measured 11 documents of the dev split, the suites have 10"),
        (card({}, limitations=" "), "the data card's `limitations` is empty"),
    ],
)
def test_a_card_that_does_not(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    """The first figure that does not fit is named, and how to mend it."""
    with pytest.raises(Failed) as caught:
        check_card(make_expert(tmp_path, data=data))
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_claim_of_more_documents_than_there_are(tmp_path: Path) -> None:
    """It was measured on something else."""
    suites = manifest("power")["suites"]
    suites[0]["claim"] = {"value": 1.0, "documents": 31, "date": "2026-01-01", "harness": "ours"}
    with pytest.raises(Failed, match="is of 31 documents, its test part has 30"):
        check_card(make_expert(tmp_path, suites=suites))


def test_an_audit_whose_figures_refute_its_verdict(tmp_path: Path) -> None:
    """Half of the passages come back word for word, and the verdict says that no leak was found."""
    audit = {
        "date": "2026-11-30",
        "verdict": "no leak found",
        "passes": 1.0,
        "canaries": 10,
        "canary_exposure": 2.5,
        "canary_exposure_most": 10.0,
        "extraction_prefixes": 100,
        "extraction": 0.5,
        "extraction_base": 0.0,
        "membership_documents": 200,
        "membership_auc": 0.5,
        "membership_low": 0.42,
        "membership_high": 0.58,
    }
    expert = make_expert(tmp_path / "a", "power", schema_version=2, data=card({}, audit=audit))
    with pytest.raises(Failed, match='says "no leak found", and the expert reproduces more of the training text'):
        check_card(expert)
    assert check_card(
        make_expert(tmp_path / "b", "power", schema_version=2, data=card({}, audit=audit | {"verdict": "leaks"}))
    )

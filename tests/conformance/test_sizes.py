"""What tells the size of a source that lets nothing leave: refused wherever a card has it."""

from __future__ import annotations

from typing import Any

import pytest
from support.private import private_manifest, with_sources

from cogen.conformance.private_text import check_declared
from cogen.conformance.result import Failed
from cogen.spec.expert import ExpertSpec
from cogen.spec.sizes import is_round, round_count, round_up

PRIVACY: dict[str, Any] = {
    "epsilon": 8.0,
    "delta": 0.001,
    "noise_multiplier": "unknown",
    "max_grad_norm": 1.0,
    "accountant": "PRV of Opacus 1.6.0; one document of at most 16 tokens, Poisson sampling, 3 steps",
}
TRAINING: dict[str, Any] = {
    "recipe_digest": "sha256:" + "0" * 64,
    "mode": "ffn",
    "order": "random",
    "seed": 1,
    "tokens": 192,
    "steps": 3,
    "hyperparameters": {},
    "hardware": "one",
    "threads": 1,
    "seconds": 1.0,
    "software": {},
    "measured": [],
}
AUDIT: dict[str, Any] = {
    "date": "2026-11-30",
    "verdict": "not conclusive",
    "canaries": 0,
    "canary_exposure": "unknown",
    "canary_exposure_most": "unknown",
    "extraction_prefixes": 50,
    "extraction": 0.0,
    "extraction_base": 0.0,
    "membership_documents": 130,
    "membership_auc": 0.5,
    "membership_low": 0.4,
    "membership_high": 0.6,
    "passes": "unknown",
}


def spec(sources: tuple[str, ...] = ("nothing",), split: Any = "unknown", **changes: Any) -> ExpertSpec:
    """A manifest; ``changes`` of its DP-SGD, its audit and its sources, by field."""
    document = private_manifest(leaves="nothing")
    unknown = dict.fromkeys(("documents", "bytes", "tokens", "share"), "unknown")
    known = {"documents": 100, "bytes": 5000, "tokens": 900, "share": changes.pop("share", "unknown")}
    made = [
        {"name": f"source {n}", "leaves": leaves} | (unknown if leaves == "nothing" else known)
        for n, leaves in enumerate(sources)
    ]
    document = with_sources(document, *made)
    training = TRAINING | {"privacy": PRIVACY | {name: value for name, value in changes.items() if name in PRIVACY}}
    audit = AUDIT | {name: value for name, value in changes.items() if name in AUDIT or name == "notes"}
    document["data"] |= {"split": split, "training": training, "audit": audit}
    return ExpertSpec.model_validate(document)


SPLIT = {
    "by": "file",
    "train_documents": 100,
    "dev_documents": 10,
    "test_documents": 30,
    "removed_duplicates": 0,
    "removed_overlapping": 0,
    "test_8gram_overlap": 0.0,
}


def test_what_training_writes_passes() -> None:
    check_declared(spec())
    check_declared(spec(("nothing", "figures"), SPLIT))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"noise_multiplier": 0.306855}, "noise_multiplier"),
        ({"epsilon": 7.9911}, "digits of epsilon = 7.9911"),
        ({"accountant": "PRV, Poisson sampling with probability 4/180, 3 steps"}, "sampling probability"),
        ({"accountant": "PRV at a sample rate of 0.0222"}, "sampling probability"),
        ({"accountant": "PRV, 4 / 180"}, "sampling probability"),
        ({"passes": 0.07}, "passes over the corpus"),
        ({"notes": ["risk: training read the corpus 12.3 times"]}, "passes over the corpus"),
        ({"extraction_prefixes": 73}, "extraction_prefixes = 73"),
        ({"membership_documents": 184}, "membership_documents = 184"),
    ],
)
@pytest.mark.parametrize("sources", [("nothing",), ("figures", "nothing")])
def test_numbers_that_tell_the_size(sources: tuple[str, ...], changes: dict[str, Any], what: str) -> None:
    """Alone, or beside a source whose size is known."""
    with pytest.raises(Failed, match=what):
        check_declared(spec(sources, "unknown", **changes))
    check_declared(spec(("figures",), SPLIT, **changes))  # where every size is known anyway


def test_what_the_other_sources_say_of_the_whole() -> None:
    """A share of all tokens; documents that `split` counts and no source has."""
    with pytest.raises(Failed, match="the share of source source 0 tells the size"):
        check_declared(spec(("figures", "nothing"), SPLIT, share=0.4))
    with pytest.raises(Failed, match="`split` has 250 training documents where the other sources have 100"):
        check_declared(spec(("figures", "nothing"), SPLIT | {"train_documents": 250}))
    with pytest.raises(Failed, match="`split` counts its documents"):
        check_declared(spec(("nothing",), SPLIT))


def test_round_counts() -> None:
    """1, 2, 3, 5 times a power of ten."""
    found = {round_count(count) for count in range(1200)}
    assert found == {0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000}
    assert all(is_round(count) for count in found)
    assert [round_count(count) for count in (1, 49, 50, 99, 100, 180, 999)] == [1, 30, 50, 50, 100, 100, 500]


@pytest.mark.parametrize(("epsilon", "up"), [(7.9911, 8.0), (8.0, 8.0), (0.12345, 0.124), (1234.5, 1240.0), (3.0, 3.0)])
def test_epsilon_is_rounded_up(epsilon: float, up: float) -> None:
    """A bound stays one."""
    assert round_up(epsilon) == up

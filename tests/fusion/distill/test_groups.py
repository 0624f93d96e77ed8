"""Who learns and who teaches."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from cogen.checkpoints.bases import BASES
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.distill.groups import assign_roles
from cogen.fusion.distill.settings import Distillation
from cogen.spec.model import BaseRef

D = "sha256:" + "0" * 64


def base(name: str) -> BaseRef:
    digest = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    return BaseRef(name=name, license="MIT", source="file:///x", file_digest=D, weights_digest=digest)


def expert(id: str, parent: str | None, tokenizer: str = "t") -> Any:
    root = base(parent or id)
    model = SimpleNamespace(
        base=root if parent else None,
        relation="ffn" if parent else "scratch",
        lineage=root.weights_digest,
        name=id,
        source="file:///x",
        revision=None,
        format="safetensors",
        dtype="bfloat16",
        file_digest=D,
        weights_digest=root.weights_digest,
    )
    spec = SimpleNamespace(model=model, tokenizer=SimpleNamespace(digest=tokenizer), license="MIT")
    return SimpleNamespace(id=id, spec=spec)


def names(chosen: list[Any], **settings: Any) -> tuple[str, list[str]]:
    found = assign_roles(chosen, Distillation(**settings))
    return found.student.name, [group.name for group in found.teachers]


MIXED = [expert("g", "gemma"), expert("a", "llama"), expert("b", "llama"), expert("q", None)]


def test_experts_of_one_base_are_one_model_and_the_largest_group_learns():
    assert names(MIXED) == ("a + b", ["g", "q"])


def test_the_pivot_can_be_any_expert_or_a_base():
    assert names(MIXED, pivot="g") == ("g", ["a + b", "q"])
    assert names(MIXED, pivot="b") == ("a + b", ["g", "q"])
    short = next(iter(BASES))
    assert names(MIXED, pivot=short) == (short, ["g", "a + b", "q"])
    assert names(MIXED, pivot=base("own")) == ("own", ["g", "a + b", "q"])


def test_apart_every_expert_is_a_model():
    assert names(MIXED, groups="apart", pivot="b") == ("b", ["g", "a", "q"])


def test_a_tokenizer_of_its_own_is_a_group_of_its_own():
    assert names([expert("a", "llama"), expert("b", "llama", "u")]) == ("a", ["b"])


def test_a_model_that_others_descend_from_adds_nothing_to_them():
    assert names([expert("llama", None), expert("a", "llama"), expert("q", None)]) == ("a", ["q"])


def test_nobody_left_to_teach_is_refused():
    with pytest.raises(CompatibilityError, match="no teacher is left") as found:
        assign_roles([expert("a", "llama"), expert("b", "llama")], Distillation())
    assert "apart" in (found.value.hint or "")


def test_an_unknown_pivot_is_refused_by_name():
    with pytest.raises(UsageError, match="'zebra'") as found:
        assign_roles(MIXED, Distillation(pivot="zebra"))
    assert "smollm2" in (found.value.hint or "")

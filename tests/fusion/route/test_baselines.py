"""The rows that no single model gives: route, ensemble and oracle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.tiny import llama, tokenizer

from cogen.errors import CompatibilityError, EvalError
from cogen.evals import BoundSuite, Settings, SuiteResult, compare, run_suites, suites_of
from cogen.fusion.route import Member
from cogen.fusion.route import baselines as module
from cogen.fusion.route.baselines import ensemble_row, oracle_row, route_row
from cogen.fusion.route.documents import Documents, documents_of

SETTINGS = Settings(dtype="float32")


def member(id: str, seed: int, load: Callable[[str], Any] | None = None) -> Member:
    """A tiny Llama of random weights."""
    return Member(id, f"sha256:{seed}", tokenizer(), "sha256:tokens", load or (lambda dtype: llama(seed, dtype)))


def measured(members: Mapping[str, Member], suites: list[BoundSuite]) -> dict[str, list[SuiteResult]]:
    return {
        id: run_suites(
            lambda one=one: one.load("float32"),
            one.tokenizer,
            suites,
            model_digest=one.digest,
            tokenizer_digest=one.tokenizer_digest,
            split="dev",
            level="full",
            dtype="float32",
        )
        for id, one in members.items()
    }


@pytest.fixture
def suites(world: Any, general: BoundSuite) -> list[BoundSuite]:
    """One suite an expert, and general text."""
    return [*(bound for id, seed in (("e1", 1), ("e2", 2)) for bound in suites_of(world.expert(id, seed))), general]


@pytest.fixture
def members() -> dict[str, Member]:
    return {id: member(id, seed) for id, seed in (("base", 7), ("e1", 1), ("e2", 2))}


@pytest.fixture
def documents(suites: list[BoundSuite]) -> list[Documents]:
    return documents_of(suites, tokenizer(), "dev", "full")


def test_the_oracle_is_the_diagonal(members: Any, suites: list[BoundSuite]) -> None:
    """Every suite by its own expert, general text by the base; without a base there is no such cell."""
    results = measured(members, suites)
    assert oracle_row(results) == [results["e1"][0], results["e2"][1], results["base"][2]]
    del results["base"]
    assert oracle_row(results) == [results["e1"][0], results["e2"][1]]


def test_a_routed_document_has_the_figure_of_its_expert(
    members: Any, suites: list[BoundSuite], documents: list[Documents]
) -> None:
    """All to one model: that model's row. Each elsewhere: document by document; and it compares like any other."""
    results = measured(members, suites)
    same = route_row(documents, {one.column: ["e2"] * 10 for one in documents}, results, SETTINGS)
    for found, own in zip(same, results["e2"], strict=True):
        assert dataclasses.replace(found, key=own.key, seconds=own.seconds) == own
    names = ["base", "e1", "e2", "e2", "e1"] * 2
    mixed = route_row(documents, {one.column: names for one in documents}, results, SETTINGS)
    for column, found in enumerate(mixed):
        assert found.per_document == tuple(results[name][column].per_document[i] for i, name in enumerate(names))
        assert found.value == sum(top for top, _ in found.per_document) / sum(size for _, size in found.per_document)
        assert found.low < found.value < found.high  # type: ignore[operator]
        assert compare(found, results["base"][column]).n == 10


def test_only_what_was_measured_is_routed(members: Any, suites: list[BoundSuite], documents: list[Documents]) -> None:
    """Figures of other documents are no figures of these."""
    results = measured(members, suites[:1])
    other = dataclasses.replace(documents[0], digest="sha256:other")
    with pytest.raises(EvalError, match="what was routed is not what was measured"):
        route_row([other], {other.column: ["e1"] * 10}, results, SETTINGS)


def test_the_ensemble_of_equal_models_is_that_model(suites: list[BoundSuite], documents: list[Documents]) -> None:
    """Averaging the same probabilities changes nothing."""
    members = {id: member(id, 3) for id in ("a", "b", "c")}
    results = measured(members, suites)
    for found, own in zip(ensemble_row(members, documents, results, SETTINGS), results["a"], strict=True):
        assert found.value == pytest.approx(own.value, rel=1e-6)
        assert found.documents == own.documents
        for (bits, size), (expected, same) in zip(found.per_document, own.per_document, strict=True):
            assert (bits, size) == (pytest.approx(expected, rel=1e-5), same)


def test_the_ensemble_is_no_worse_than_its_members_are_on_average(
    members: Any, suites: list[BoundSuite], documents: list[Documents]
) -> None:
    """Jensen: the logarithm of a mean is at least the mean of the logarithms, and at most the largest plus nothing."""
    results = measured(members, suites)
    for column, found in enumerate(ensemble_row(members, documents, results, SETTINGS)):
        for i, (bits, _) in enumerate(found.per_document):
            own = [results[id][column].per_document[i][0] for id in members]
            assert bits < math.fsum(own) / 3
            # No single model has more than a third of the mixture: each token costs at most log2(3) more than the best.
            tokens = len(tokenizer()(documents[column].queries[i])["input_ids"])
            assert bits <= min(own) + tokens * math.log2(3) + 1e-6


def test_the_order_of_the_members_changes_nothing(
    members: Any, suites: list[BoundSuite], documents: list[Documents], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The same bits, computed twice."""
    results = measured(members, suites)
    one = ensemble_row(members, documents, results, SETTINGS)
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "another"))
    turned = {id: members[id] for id in reversed(members)}
    again = ensemble_row(turned, documents, {id: results[id] for id in turned}, SETTINGS)
    assert [r.per_document for r in one] == [r.per_document for r in again]
    assert [r.key for r in one] == [r.key for r in again]
    assert oracle_row({id: results[id] for id in turned}) == oracle_row(results)


def test_an_ensemble_is_kept_and_runs_one_model_at_a_time(
    suites: list[BoundSuite], documents: list[Documents], members: Any
) -> None:
    """The second time no model is loaded; the first time each is gone before the next."""
    import gc
    import weakref

    alive: list[weakref.ref[Any]] = []

    def loader(seed: int) -> Callable[[str], Any]:
        def load(dtype: str) -> Any:
            gc.collect()
            assert [ref for ref in alive if ref() is not None] == []
            model = llama(seed, dtype)
            alive.append(weakref.ref(model))
            return model

        return load

    watched = {id: member(id, int(one.digest[7:]), loader(int(one.digest[7:]))) for id, one in members.items()}
    results = measured(members, suites)
    first = ensemble_row(watched, documents, results, SETTINGS)
    assert len(alive) == 3
    again = ensemble_row(watched, documents, results, SETTINGS)
    assert len(alive) == 3
    assert first == again
    assert all(result.cached for result in again)


def test_models_with_other_tokens_have_no_ensemble(members: Any, documents: list[Documents]) -> None:
    """Their next tokens are not the same thing."""
    members["e2"] = dataclasses.replace(members["e2"], tokenizer_digest="sha256:other")
    assert not module.can_ensemble(members)
    with pytest.raises(CompatibilityError, match="different tokenizers have no ensemble"):
        ensemble_row(members, documents, {}, SETTINGS)

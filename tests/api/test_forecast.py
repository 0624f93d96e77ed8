"""cogen.forecast: subsets that are those of cogen.fuse, a full set that nobody looks at before, and what is refused."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import cogen
from cogen.cli.main import main
from cogen.errors import UsageError
from cogen.runs import forecast as runs
from cogen.runs.subsets import balanced_subsets


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The experts of every model that a forecast builds."""
    found: list[tuple[str, ...]] = []
    real = runs.built

    def built(prepared: Any, folder: Path) -> None:
        found.append(tuple(sorted(expert.id for expert in prepared.plan.experts)))
        real(prepared, folder)

    monkeypatch.setattr(runs, "built", built)
    return found


@pytest.mark.parametrize(("n", "size"), [(5, 1), (5, 2), (5, 3), (6, 4), (10, 3), (10, 5), (12, 6)])
def test_every_expert_occurs_equally_often(n: int, size: int) -> None:
    """In as many subsets as there are experts exactly so, in any other number but for one; never a subset twice."""
    ids = [f"e{i}" for i in range(n)]
    for number, seed in itertools.product((2, n - 1, n, 2 * n), range(3)):
        found = balanced_subsets(ids, size, number, seed)
        every = sorted(itertools.combinations(ids, size))
        assert len(set(found)) == len(found) == min(number, len(every))
        assert set(found) <= set(every)
        counts = Counter(id for subset in found for id in subset)
        assert max(counts.values()) - min(counts.get(id, 0) for id in ids) <= (len(found) * size % n != 0)
        assert found == balanced_subsets(ids, size, number, seed)
    assert balanced_subsets(ids, 2, 4, 0) != balanced_subsets(ids, 2, 4, 1)


def test_the_figures_are_those_of_fused_subsets(five: tuple[str, ...], seen: list, tmp_path: Path) -> None:
    """A subset has the bits per byte of what cogen.fuse makes of it, on every domain; the base has its own."""
    found = cogen.forecast(method="ties", total=0.8, parameters={"density": 0.5}, documents=3)
    assert found.experts == five
    assert [one.size for one in found.subsets] == [1] * 5 + [2] * 5 + [3] * 5
    assert sorted(seen) == sorted(one.experts for one in found.subsets)
    subset = next(one for one in found.subsets if one.size == 2)
    recipe: dict[str, Any] = {"method": "ties", "parameters": {"density": 0.5}}
    cogen.fuse(subset.experts, tmp_path / "two", strategy="merge", scale=0.8, level="none", **recipe)
    suites = [f"{id}/heldout" for id in five]
    by_hand = cogen.evaluate(tmp_path / "two", suites=suites, split="dev", level="full").results
    assert [len(pairs) for pairs in subset.domains.values()] == [3] * 5
    assert [subset.domains[r.owner] for r in by_hand] == [r.per_document[:3] for r in by_hand]
    base = cogen.evaluate("base", suites=suites, split="dev", level="full").results
    assert [found.base.domains[r.owner] for r in base] == [r.per_document[:3] for r in base]
    assert found.base.experts == ()


def test_sums_of_scaling_factors(five: tuple[str, ...], tmp_path: Path) -> None:
    """Each of k task vectors gets the total by k; of several totals, the one that is best for the subset's own."""
    low, high, best = (cogen.forecast(total=total, documents=2).subsets for total in (0.5, 3.0, [0.5, 3.0]))
    cogen.fuse(low[-1].experts, tmp_path / "out", scale=0.5 / 3, level="none")
    by_hand = cogen.evaluate(tmp_path / "out", suites=["law/heldout"], split="dev", level="full").results[0]
    assert low[-1].domains["law"] == by_hand.per_document[:2]
    for one, other, chosen in zip(low, high, best, strict=True):
        products = []
        for loss in (one, other):
            product = 1.0
            for id in loss.experts:
                product *= loss.values[id]
            products.append(product)
        assert chosen == (one if products[0] <= products[1] else other)
    assert low[-1].domains != high[-1].domains


def test_the_full_set_is_looked_at_last(five: tuple[str, ...], seen: list) -> None:
    """Only by check(), which measures it as the subsets were; the second time all figures come from the cache."""
    found = cogen.forecast(documents=2, subsets=3, seed=4)
    assert len(seen) == 9
    assert five not in seen
    full = found.check()
    assert seen[9:] == [five]
    assert full.measured.experts == five
    assert full.measured.domains.keys() == found.base.domains.keys()
    curve = found.prediction.curve
    assert full.inside == (
        None if found.prediction.refusal else curve.same.low <= full.measured.mean <= curve.same.high
    )
    again = cogen.forecast(documents=2, subsets=3, seed=4)
    assert (again.subsets, again.base, again.prediction) == (found.subsets, found.base, found.prediction)
    assert len(seen) == 10
    cogen.forecast(documents=2, subsets=3, seed=4, fresh=True)
    assert len(seen) == 19


def test_mixtures(five: tuple[str, ...], seen: list, tmp_path: Path) -> None:
    """Subsets of a mixture are fused as mixtures."""
    found = cogen.forecast(five[:4], strategy="moe", routing="hidden", top_k=1, documents=1, subsets=2)
    assert len(seen) == 6
    subset = found.subsets[-1]
    cogen.fuse(subset.experts, tmp_path / "moe", strategy="moe", routing="hidden", top_k=1, level="none")
    by_hand = cogen.evaluate(tmp_path / "moe", suites=["law/heldout"], split="dev", level="full").results[0]
    assert subset.domains["law"] == by_hand.per_document[:1]


def test_the_command(five: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures as JSON; tables for people, and the work on stderr before it."""
    found = cogen.forecast(documents=3, target=1.0, up_to=4)
    capsys.readouterr()
    arguments = ["forecast", "--documents", "3", "--target", "1.0", "--up-to", "4"]
    assert main([*arguments, "--check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(tuple(one["experts"]), one["mean"]) for one in document["subsets"]] == [
        (one.experts, one.mean) for one in found.subsets
    ]
    assert document["base"]["domains"] == found.base.values
    assert document["curve"]["law"]["shift"] == found.prediction.curve.law.shift
    assert document["backtest"]["size"] == 4
    assert document["settings"]["sizes"] == [1, 2, 3, 4]
    assert (document["refusal"] is None) == (found.prediction.refusal is None)
    assert document["check"]["experts"] == list(five)
    assert main([*arguments, "--check"]) == 0
    printed = capsys.readouterr()
    assert "20 subsets of 1 to 4 of 5 experts" in printed.err
    assert "by domain and number of experts" in printed.out
    where = printed.out.index("check: the full set was measured at")
    if found.prediction.refusal is None:
        assert printed.out.index("all 5 experts:") < where
    else:
        assert f"no forecast: {found.prediction.refusal.message}" in printed.err


def test_the_work_is_shown_before_it_begins(five: tuple[str, ...], seen: list) -> None:
    """Models and tokens of all; what the callback raises ends the run."""

    def stop(work: Any, request: Any) -> None:
        assert work.models == len(request.subsets) * 2 + 1
        assert work.tokens % work.models == 0
        assert work.seconds > 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cogen.forecast(total=[1, 2], on_work=stop)
    assert seen == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": ["law", "power", "neuro"]}, "a forecast needs at least 4 experts, and there are 3"),
        ({"experts": ["law", "law"]}, "law is named twice"),
        ({"experts": []}, "no expert is named"),
        ({"up_to": 5}, r"the largest subset must have 3 to 4 of 5 experts \(got 5\)"),
        ({"up_to": 2}, r"the largest subset must have 3 to 4 of 5 experts \(got 2\)"),
        ({"strategy": "route"}, "unknown strategy 'route'"),
        ({"routing": "hidden"}, "routing is for strategy moe"),
        ({"strategy": "moe", "total": 1.5}, "strategy moe takes no total of scaling factors"),
        ({"method": "tiez"}, "unknown merge method 'tiez'"),
        ({"method": "model_stock", "total": 2}, "method model_stock takes no total of scaling factors"),
        ({"level": "full", "documents": 3}, "documents takes the place of a level"),
        ({"documents": 0}, "documents must be a whole number of at least 1"),
        ({"subsets": 1}, "subsets must be a whole number of at least 2"),
        ({"total": "much"}, "total must be a number"),
        ({"parameters": {"density": 0.3}}, "density"),
        ({"method": "greedy_soup"}, "greedy_soup"),
    ],
)
def test_mistakes(five: tuple[str, ...], seen: list, options: dict[str, Any], message: str) -> None:
    """One line and a hint, before anything is built."""
    with pytest.raises(UsageError, match=message) as raised:
        cogen.forecast(**options)
    assert raised.value.hint
    assert seen == []

"""A mixture in the report and on the card: who works where, what each contributes, and nothing else than that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.manifests import make_expert
from support.pages import Page, harmless

from cogen.artifacts.card import write_card
from cogen.artifacts.lock import make_lock
from cogen.artifacts.report import mixture_view
from cogen.artifacts.report.report import render
from cogen.evals import Matrix
from cogen.fusion.details import MergeDetails, MoeDetails
from cogen.fusion.moe.insight import Insight, Usage, mean_weights
from cogen.fusion.plan import Plan
from cogen.fusion.strategies import strategy_of

LAYERS = 3
SLOTS = ("base", "energy", "power")


def planned(**changes: Any) -> MoeDetails:
    values: dict[str, Any] = {
        "model_type": "mixtral",
        "architecture": "MixtralForCausalLM",
        "routing": "hidden",
        "top_k": 2,
        "slots": SLOTS,
        "layers": LAYERS,
        "hidden": 32,
        "width": 64,
        "merged": 0,
        "parameters": 291_000_000,
        "active": 212_000_000,
        "exact": True,
    }
    return MoeDetails.model_validate(values | changes)


@pytest.fixture
def parts(tmp_path: Path) -> list[Any]:
    title = "Energy <script>alert(1)</script> & more"
    return [make_expert(tmp_path / "plugins", "energy", title=title), make_expert(tmp_path / "plugins", "power")]


@pytest.fixture
def mixture(build: Any, parts: list[Any]) -> Plan:
    plan: Plan = build.plan(parts, strategy="moe", method="linear", scales=(1.0,), details=planned())
    return plan


@pytest.fixture
def insight(figures: Any) -> Insight:
    """Energy's expert does its own text, and is missed there; power's is missed nowhere."""
    columns = ("energy/heldout", "power/heldout")
    weight = {"energy/heldout": [0.2, 0.7, 0.1], "power/heldout": [0.5, 0.05, 0.45]}
    usage = [Usage(c, 900, [[0.9, 0.8, 0.3]] * LAYERS, [weight[c]] * LAYERS) for c in columns]
    losses = {"composite": (0.8, 0.9), "without energy": (0.96, 0.9), "without power": (0.8, 0.9)}
    rows = {row: [figures(c, v) for c, v in zip(columns, values, strict=True)] for row, values in losses.items()}
    return Insight(SLOTS, usage, Matrix.of(rows))


def page_of(plan: Plan, parts: list[Any], folder: Path, build: Any, insight: Insight | None) -> Page:
    matrix = build.matrix(("energy", "power"))
    return Page(render(make_lock(plan, 1.0, [], folder, matrix), plan, matrix, [], parts, insight))


def test_the_report_shows_who_works_where(
    mixture: Plan, parts: list[Any], folder: Path, build: Any, insight: Insight
) -> None:
    """A cell for every text, expert and layer with its share; titles are escaped, and nothing is loaded."""
    page = page_of(mixture, parts, folder, build, insight)
    harmless(page)
    assert "<script" not in page.source
    assert "&lt;script&gt;" in page.source
    text = " ".join(page.text)
    for part in ("MixtralForCausalLM", "3, of which 2 work on a token", "291 million, 212 million active on a token"):
        assert part in text
    assert "exact: the bits of a build without it" in text
    for layer in range(LAYERS):
        assert f"power expert, layer {layer}: 45.0 % of the result, chosen for 30 % of the tokens" in text


def test_the_map_is_the_figures(mixture: Plan, insight: Insight) -> None:
    """Strength is the share, cells fill the map without overlap, means stand beside their row."""
    view = mixture_view.mixture(mixture, strategy_of(mixture).describe(mixture), insight)
    assert view is not None
    assert [one.title for one in view.maps] == ["Energy <script>alert(1)</script> & more", "The power expert"]
    for drawn, used in zip(view.maps, insight.usage, strict=True):
        assert len(drawn.patches) == LAYERS * len(SLOTS)
        assert [p.strength for p in drawn.patches] == [
            used.weight[layer][slot] for slot in range(len(SLOTS)) for layer in range(LAYERS)
        ]
        assert len({(patch.x, patch.y) for patch in drawn.patches}) == len(drawn.patches)
        assert all(p.x + drawn.size[0] <= drawn.width and p.y + drawn.size[1] <= drawn.height for p in drawn.patches)
        assert [tick.label for tick in drawn.shares] == [f"{100 * mean:.0f} %" for mean in mean_weights(used)]


def test_contributions(mixture: Plan, insight: Insight) -> None:
    """What a text loses without an expert, signed and sure where the interval says so; the largest is the strongest."""
    view = mixture_view.mixture(mixture, strategy_of(mixture).describe(mixture), insight)
    assert view is not None
    assert [name for name, _ in view.losses] == [
        "without Energy <script>alert(1)</script> & more",
        "without The power expert",
    ]
    (missed, nothing), (same, also) = (cells for _, cells in view.losses)
    assert missed.tone == "worse"
    assert "20" in missed.value
    assert "≈" not in missed.value
    assert missed.strength > max(nothing.strength, same.strength, also.strength)
    for cell in (nothing, same, also):
        assert "≈" in cell.value


def test_without_figures(mixture: Plan, parts: list[Any], folder: Path, build: Any) -> None:
    """Nothing measured, one slot alone, or no mixture at all."""
    harmless(page_of(mixture, parts, folder, build, None))
    alone = mixture.model_copy(update={"details": planned(slots=("energy",), top_k=1)})
    used = [Usage("energy/heldout", 9, [[1.0]] * LAYERS, [[1.0]] * LAYERS)]
    page = page_of(alone, parts[:1], folder, build, Insight(("energy",), used))
    harmless(page)
    assert "without" not in " ".join(tick for tick in page.text if tick.startswith("without"))
    merge = mixture.model_copy(update={"details": MergeDetails(), "strategy": "merge"})
    assert mixture_view.mixture(merge, strategy_of(merge).describe(merge), None) is None


@pytest.mark.parametrize("exact", [True, False])
def test_the_card(mixture: Plan, parts: list[Any], folder: Path, exact: bool) -> None:
    """Says what was stacked and how, what was merged, and how an expert is taken out again; titles do no harm."""
    plan = mixture.model_copy(update={"details": planned(exact=exact, merged=0 if exact else 12)})
    write_card(folder, make_lock(plan, 1.0, [], folder, None), None, parts)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Strategy moe, MixtralForCausalLM: 3 experts (the base's own feed-forward blocks are one), 2 on a" in text
    assert "routers from the base's states on the experts' samples, without training" in text
    assert ("the 12 other tensors that experts changed: linear" in text) is not exact
    assert "cogen fuse --onto composite --remove EXPERT" in text
    assert ("leaves the bits of a build without it" in text) is exact
    assert "A mixture of experts usually knows less" in text
    assert "<script>" not in text

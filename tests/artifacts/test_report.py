"""The report: complete, harmless, well formed."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manifests import make_expert, manifest
from support.pages import Page, harmless

from cogen.artifacts.lock import Lock, make_lock
from cogen.artifacts.report import charts, search_view
from cogen.artifacts.report.report import duration, render, size, thousands, write_report
from cogen.artifacts.report.view import bounds, figure
from cogen.evals import Matrix, compare
from cogen.fusion.merge.measure import Trial


@pytest.fixture
def page(lock: Lock, plan: Any, matrix: Matrix, trials: Any, experts: Any) -> Page:
    return Page(render(lock, plan, matrix, trials, experts))


def test_the_page_loads_nothing(page: Page) -> None:
    """Self-contained: no address but in links, nothing in the styles either, and a policy that forbids the rest."""
    harmless(page)
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


def test_the_page_holds_every_figure(page: Page, matrix: Matrix, lock: Lock, trials: Any) -> None:
    """Value, interval and n of each cell, change against the base, trials, digests."""
    text = " ".join(page.text)
    for cells in matrix.cells.values():
        for result in cells.values():
            assert f"{result.value:.3f}" in text
            assert result.low is not None
            assert f"{result.low:.3f} to {result.high:.3f}" in text
            assert f"n = {result.n}" in text
    for found in matrix.gains().values():
        for change in found.values():
            assert f"{abs(change.gain) * 100:.1f} %" in text
    for trial in trials:
        for value in trial.bits_per_byte.values():
            assert f"{value:.4f}" in text
    for digest in (lock.weights_digest, lock.plan_digest, *lock.files.values()):
        assert digest in text
    assert "The composite reads all 5 domains better than the base; it keeps 70 % of the specialists' gain" in text
    for part in ("Invented words", "CC0-1.0", "Apache-2.0", "269.1 MB", "read the licences before you publish"):
        assert part in text


def _tuned(trials: Any, folder: Path, plan: Any, matrix: Any) -> tuple[Any, Lock, list[Trial]]:
    """Scale and density tuned together; the third candidate is chosen, a sixth one failed."""
    tuned = plan.model_copy(update={"search": 6, "space": {"density": (0.0, 1.0), "scale": (0.0, 1.0)}})
    points = [dataclasses.replace(t, parameters={"density": 0.123 + 0.1 * i}) for i, t in enumerate(trials)]
    points.append(Trial(0.99, None, {}, {"density": 0.0}, "<b>too thin</b>"))
    return tuned, make_lock(tuned, 0.6, points, folder, matrix, parameters=points[2].parameters), points


def test_a_report_of_several_tuned_parameters(
    trials: Any, folder: Path, plan: Any, matrix: Matrix, experts: Any
) -> None:
    """Every value of every candidate, the chosen one marked once, why one failed, and the course as a chart."""
    tuned, lock, points = _tuned(trials, folder, plan, matrix)
    page = Page(render(lock, tuned, matrix, points, experts))
    harmless(page)
    text = " ".join(" ".join(page.text).split())
    for point in points:
        assert f"{point.parameters['density']:g}" in text
        for value in point.bits_per_byte.values():
            assert f"{value:.4f}" in text
    assert "Of 6 candidates measured on development texts, scale 0.6 and density 0.323 did best" in text
    assert "2 settings were tuned together. 6 candidates were measured" in text
    assert "<b>too thin</b>" in text
    cells = re.findall(r"<tr><td class=\"num\">(\d)</td>.*<td>(.*)</td></tr>", page.source)
    assert cells == [
        *((str(i + 1), "chosen" if i == 2 else "") for i in range(5)),
        ("6", "&lt;b&gt;too thin&lt;/b&gt;"),
    ]
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert "Mean bits per byte of every candidate, and the best so far" in labels
    assert not any(label.startswith("Mean bits per byte by") for label in labels)
    assert "candidate 6 could not be measured" in text


def test_a_report_of_one_tuned_parameter(trials: Any, folder: Path, plan: Any, matrix: Matrix, experts: Any) -> None:
    """A curve over that parameter, under its own name."""
    points = [dataclasses.replace(t, scale=1.4, parameters={"weight.power": t.scale}) for t in trials]
    tuned = plan.model_copy(update={"search": 5, "space": {"weight.power": (0.0, 2.0)}})
    lock = make_lock(tuned, 1.4, points, folder, matrix, parameters={"weight.power": 0.6})
    page = Page(render(lock, tuned, matrix, points, experts))
    harmless(page)
    assert ("svg", "aria-label", "Mean bits per byte by weight of power") in page.attributes
    text = " ".join(" ".join(page.text).split())
    assert "Only the weight of power was tuned." in text
    assert "0.6, chosen" in text


def test_a_report_of_a_greedy_soup(trials: Any, folder: Path, plan: Any, matrix: Matrix, experts: Any) -> None:
    """Which experts were kept; the others have the weight 0 in the lineage."""
    weights = [{f"weight.{e.id}": float(e.id in kept) for e in experts} for kept in (["power"], ["power", "neuro"])]
    points = [dataclasses.replace(t, scale=1.0, parameters=w) for t, w in zip(trials[:2], weights, strict=True)]
    soup = plan.model_copy(update={"method": "greedy_soup", "scales": (1.0,), "search": 9})
    page = Page(
        render(make_lock(soup, 1.0, points, folder, matrix, parameters=weights[1]), soup, matrix, points, experts)
    )
    harmless(page)
    text = " ".join(" ".join(page.text).split())
    assert "the method greedy_soup (neuro and power out of 5 experts)" in text
    assert "the average of neuro and power did best" in text
    assert "Each expert was measured alone" in text
    assert len(re.findall("ffn, weight 0", text)) == 3
    assert len(re.findall("ffn, weight 1", text)) == 2


def test_hostile_manifests_stay_text(tmp_path: Path, folder: Path, build: Any, trials: Any) -> None:
    """Whatever a publisher writes is shown as written and does nothing."""
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} </style></svg>"
    data = manifest("power")["data"]
    source = data["sources"][0] | {"name": evil, "uri": "javascript://%0aalert(1)", "license_evidence": evil}
    expert = make_expert(
        tmp_path,
        "power",
        title=evil,
        summary=evil,
        publisher=evil,
        homepage="javascript:alert(1)",
        license="LicenseRef-x",
        data=data
        | {
            "sources": [source, source | {"uri": 'https://evil.example/"onmouseover="x'}],
            "limitations": evil,
            "collected": evil,
            "not_for": evil,
        },
    )
    plan = build.plan([expert], why=evil, license=evil, method=evil)
    matrix = build.matrix(["power"])
    text = render(make_lock(plan, 0.6, [], folder, matrix), plan, matrix, trials[:0], [expert])
    page = Page(text)
    harmless(page)
    assert html.escape("<script>alert(1)</script>", quote=True) in text
    assert evil in " ".join(page.text)
    assert "49" not in text.partition("{{ 7 * 7 }}")[2][:20]


def test_a_report_without_figures(lock: Lock, plan: Any, experts: Any, tmp_path: Path) -> None:
    """The level none: everything else is still there."""
    path = tmp_path / "report.html"
    write_report(path, lock, plan, None, [], experts)
    page = Page(path.read_text(encoding="utf-8"))
    harmless(page)
    text = " ".join(page.text)
    assert "The composite was not evaluated." in text
    assert "Nothing was measured" in text
    assert "Scale 0.6: given, not searched for." in text
    assert lock.weights_digest in text


def test_a_report_without_data_cards_and_cells(folder: Path, plan: Any, figures: Any) -> None:
    """Experts that are gone, cells that are missing, one document, and accuracy in points."""
    rows = {
        "base": [("power/quiz", 0.25), ("power/heldout", 1.0)],
        "power": [("power/quiz", 0.5)],
        "composite": [("power/quiz", 0.5)],
    }
    metric = {"power/quiz": "acc", "power/heldout": "bits_per_byte"}
    matrix = Matrix.of(
        {
            row: [figures(c, v, metric=metric[c], n=40 if metric[c] == "acc" else 1) for c, v in cells]
            for row, cells in rows.items()
        }
    )
    page = Page(render(make_lock(plan, 0.6, [], folder, matrix), plan, matrix, [], []))
    harmless(page)
    text = " ".join(page.text)
    assert "25.0 points better" in text
    assert "50.0 %" in text
    assert "no interval" in text
    assert "Its data card is not at hand" in text


def test_bounds_follow_the_gain(figures: Any) -> None:
    """For bits per byte and for answers alike: low ≤ gain ≤ high."""
    for metric, better, worse in (("bits_per_byte", 0.8, 1.0), ("acc", 0.75, 0.25)):
        found = compare(figures("a/b", better, metric=metric), figures("a/b", worse, metric=metric))
        ends = bounds(found)
        assert ends is not None
        assert 0 < ends[0] <= found.gain <= ends[1]


def test_figures_for_people() -> None:
    """Units that people know."""
    assert figure("bits_per_byte", 0.81234) == "0.812"
    assert figure("acc", 0.41234) == "41.2 %"
    assert (thousands(12345), thousands("unknown")) == ("12,345", "unknown")
    assert (size(269_060_000), size(900), size(2e9), size("unknown")) == ("269.1 MB", "900 bytes", "2.0 GB", "unknown")
    assert (duration(63), duration(812), duration(9000)) == ("63 s", "14 min", "2 h 30 min")


@settings(deadline=None)
@given(st.floats(-100, 100), st.floats(0.001, 200), st.integers(2, 9))
def test_ticks_cover_the_range(low: float, span: float, count: int) -> None:
    """Evenly spaced, first ≤ low, last ≥ high, and not many more than asked for."""
    ticks = charts.nice_ticks(low, low + span, count)
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert ticks[0] <= low + 1e-6 * span
    assert ticks[-1] >= low + span * (1 - 1e-6)
    assert max(steps) == pytest.approx(min(steps), rel=1e-6)
    assert len(ticks) <= count + 2


def test_charts_keep_order_and_bounds() -> None:
    """Better lies further right; all marks lie inside; the chosen trial is marked and the lowest lies lowest."""
    points = [charts.Point("specialist", 0.3, 0.2, 0.4, "", ""), charts.Point("composite", 0.1, None, None, "", "")]
    chart = charts.whiskers([("a", "b", points)])
    specialist, composite = chart.groups[0].marks
    assert chart.left <= chart.zero < composite.x < specialist.low < specialist.x < specialist.high <= chart.right
    assert composite.low is None
    equal = charts.whiskers([("a", "b", [charts.Point("composite", 0.0, 0.0, 0.0, "", "")])])
    assert equal.groups[0].marks[0].x == equal.zero == equal.left, "an expert that was not trained equals its base"
    curve = search_view.curve([(1.0, 0.9), (0.3, 0.8), (0.6, 0.7)], 0.6)
    assert [p.scale for p in curve.points] == ["0.3", "0.6", "1"]
    assert [p.chosen for p in curve.points] == [False, True, False]
    assert max(curve.points, key=lambda p: p.y).chosen
    flat = search_view.curve([(0.3, 0.8), (0.6, 0.8)], 0.3)
    assert all(flat.top <= p.y <= flat.bottom for p in flat.points)
    drawing = charts.lineage(("base", ["x"]), [("e" * 99, ["y"])] * 3, ("composite", []))
    assert len(drawing.paths) == 6
    assert all(
        node.x + node.width <= drawing.width and node.y + node.height <= drawing.height for node in drawing.nodes
    )
    assert max(len(node.title) for node in drawing.nodes) <= 27


def test_a_curve_labels_what_there_is_room_for() -> None:
    """Twenty points: the chosen one always, no two labels nearer than their width; all points are drawn."""
    trials = [(0.05 * i, 0.8 + (0.05 * i - 0.6) ** 2) for i in range(21)]
    drawn = search_view.curve(trials, trials[12][0]).points
    assert len(drawn) == 21
    assert [p.labelled for p in drawn if p.chosen] == [True]
    labelled = sorted(p.x for p in drawn if p.labelled)
    assert len(labelled) > 5
    assert min(b - a for a, b in itertools.pairwise(labelled)) >= 60


def test_the_course_of_a_search() -> None:
    """In order, the best so far never rises and ends at the chosen one; one bad candidate does not flatten the rest."""
    values = [0.80, 0.79, None, 9.0, 0.78, 0.81, 0.77, 0.775]
    course = search_view.course(values, 6)
    assert [step.number for step in course.steps] == list(range(1, 9))
    assert [step.kind for step in course.steps] == [
        "specialist",
        "specialist",
        "failed",
        "beyond",
        "specialist",
        "specialist",
        "composite",
        "specialist",
    ]
    assert all(course.top <= step.y <= course.bottom for step in course.steps)
    assert all(course.left < a.x < b.x < course.right for a, b in itertools.pairwise(course.steps))
    lowest = max(course.steps, key=lambda step: step.y)
    assert lowest.kind == "composite"
    assert course.steps[0].y < course.steps[4].y - 20  # 0.80 and 0.78 can be told apart
    corners = [tuple(map(float, corner.split(","))) for corner in course.line.split()]
    assert [y for _, y in corners] == sorted(y for _, y in corners)
    assert corners[0] == (course.steps[0].x, course.steps[0].y)
    assert corners[-1] == (course.steps[-1].x, lowest.y)
    assert course.numbers[0].label == "1"
    flat = search_view.course([0.8, 0.8], 0)
    assert all(flat.top <= step.y <= flat.bottom for step in flat.steps)
    assert search_view.course([None, 0.8, 0.9], 1).steps[1].kind == "composite"

"""What `cogen forecast` prints: the work before it, the tables, the law and its answers."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out
from cogen.cli.render_plan import duration

if TYPE_CHECKING:
    from cogen.api.forecast import Forecast, FullSet
    from cogen.evals.curves import Bounded, LossCurve, SubsetLoss
    from cogen.evals.forecast import Count
    from cogen.runs.forecast import ForecastRequest, Work


def show_work(work: Work, request: ForecastRequest) -> None:
    """The estimate, on stderr, before anything is measured."""
    out.status(
        f"{len(request.subsets)} subsets of 1 to {request.sizes[-1]} of {len(request.experts)} experts: {work.models} "
        f"models, {work.tokens:,} tokens, about {duration(work.seconds)} on this machine, less what the cache holds "
        "already; half or twice as much is possible"
    )


def show_forecast(found: Forecast) -> None:
    """Both tables, then law and answers, or why there are none."""
    _show_sizes(found)
    _show_domains(found)
    prediction, curve, n = found.prediction, found.prediction.curve, len(found.experts)
    if prediction.refusal is not None:
        out.warn(f"no forecast: {prediction.refusal.message}")
        out.hint(prediction.refusal.hint)
        if curve is not None:
            out.text(f"law, too uncertain to be a forecast: {_law(curve)}; {curve.same.value:.4f} for all {n} experts")
        return
    assert curve is not None  # without a refusal there is one
    out.text(f"law: {_law(curve)}")
    out.text(
        f"all {n} experts: {curve.full.value:.4f} bits per byte, 95 % interval {_bounds(curve.full)} over subsets and "
        f"documents, {_bounds(curve.same)} on these documents"
    )
    verb = "less" if curve.fall.value > 0 else "more: the loss rises"
    out.text(f"from 1 to {n} experts: {abs(curve.fall.value):.4f} {verb} ({_bounds(curve.fall, signed=True)})")
    if prediction.backtest is not None:
        back = prediction.backtest
        out.text(
            f"backtest: smaller subsets predict {back.predicted.value:.4f} {_bounds(back.predicted)} for {back.size} "
            f"experts; measured {back.measured:.4f}"
        )
    for line in _answers(found):
        out.text(line)


def _show_sizes(found: Forecast) -> None:
    curve = found.prediction.curve
    rows: list[dict[str, Any]] = [{"experts": "0 (base)", "subsets": 1, "mean": f"{found.base.mean:.4f}"}]
    for size in found.request.sizes:
        of = [one for one in found.subsets if one.size == size]
        means = [one.mean for one in of]
        inside, outside = (_part(of, members) for members in (True, False))
        rows.append(
            {
                "experts": str(size),
                "subsets": len(of),
                "mean": f"{statistics.fmean(means):.4f}",
                "range": f"{min(means):.4f} to {max(means):.4f}",
                "law": f"{curve.law.at(size):.4f}" if curve else None,
                "inside": inside,
                "outside": outside,
            }
        )
    columns: list[str | Column] = [
        "experts",
        Column("subsets", justify="right"),
        Column("mean", justify="right"),
        "range",
        Column("law", justify="right"),
        Column("inside", "domains of the subset", justify="right"),
        Column("outside", "other domains", justify="right"),
    ]
    request = found.request
    what = f"{request.documents} documents" if request.documents else f"level {request.level}"
    how = ", ".join(
        [
            request.recipe["strategy"],
            *(str(request.recipe[name]) for name in ("method", "routing") if name in request.recipe),
        ]
    )
    title = f"bits per byte, mean of {len(found.base.domains)} domains: {how}; dev, {what}"
    out.table(rows, columns, title=title)


def _part(of: list[SubsetLoss], members: bool) -> str | None:
    """Mean over the domains whose expert is in the subset, or over those whose expert is not."""
    values = [value for one in of for id, value in one.values.items() if (id in one.experts) == members]
    return f"{statistics.fmean(values):.4f}" if values else None


def _show_domains(found: Forecast) -> None:
    sizes, domains = found.request.sizes, found.prediction.domains
    rows: list[dict[str, Any]] = []
    for name, base in found.base.values.items():
        row: dict[str, Any] = {"domain": name, "base": f"{base:.4f}"}
        for size in sizes:
            row[str(size)] = f"{statistics.fmean(one.values[name] for one in found.subsets if one.size == size):.4f}"
        if name in domains and found.prediction.refusal is None:
            row["full"] = f"{domains[name].full.value:.4f} {_bounds(domains[name].full)}"
        rows.append(row)
    columns: list[str | Column] = ["domain", Column("base", justify="right")]
    columns += [Column(str(size), justify="right") for size in sizes]
    if any("full" in row for row in rows):
        columns.append(Column("full", f"{len(found.experts)}, predicted"))
    out.table(rows, columns, title="by domain and number of experts")


def _answers(found: Forecast) -> list[str]:
    """Of --target and --gain."""
    prediction, n = found.prediction, len(found.experts)
    lines = []
    if prediction.needed is not None:
        needed = prediction.needed
        target = f"{found.target:g} bits per byte"
        if needed.value is None:
            lines.append(f"target {target}: no number of experts reaches it")
        else:
            more = f"; {needed.value - n} more than there are, if they are like these" if needed.value > n else ""
            lines.append(f"target {target}: {needed.value} experts {_range(needed)}{more}")
    if prediction.stop is not None:
        stop, share = prediction.stop, f"{found.gain * 100:g} %"
        if stop.value is None:
            lines.append(f"when to stop: each of the {n} experts saves at least {share} {_range(stop)}")
        else:
            lines.append(f"when to stop: after {stop.value} experts {_range(stop)} one more saves less than {share}")
    return lines


def show_check(full: FullSet) -> None:
    """The full set, which was measured after the prediction was printed."""
    if full.predicted is None:
        out.text(f"check: the full set was measured at {full.measured.mean:.4f} bits per byte; nothing was predicted")
        return
    where = "inside" if full.inside else "outside"
    error = full.predicted / full.measured.mean - 1
    out.text(
        f"check: the full set was measured at {full.measured.mean:.4f} bits per byte, {where} the interval on these "
        f"documents; the prediction is {abs(error) * 100:.2f} % too {'high' if error > 0 else 'low'}"
    )


def _law(curve: LossCurve) -> str:
    law = curve.law
    if law.straight:
        return "a straight line as far as subsets were measured: no floor is in sight"
    return f"{law.floor:.4f} {'+' if law.drop >= 0 else '-'} {abs(law.drop):.4f} / (k + {law.shift:.2f})"


def _bounds(estimate: Bounded, *, signed: bool = False) -> str:
    form = "+.4f" if signed else ".4f"
    return f"[{estimate.low:{form}}, {estimate.high:{form}}]"


def _range(count: Count) -> str:
    low, high = ("∞" if one is None else str(one) for one in (count.low, count.high))
    return f"[{low}, {high}]"


def forecast_json(found: Forecast, full: FullSet | None) -> dict[str, Any]:
    """All figures: each subset's, too."""
    request, prediction = found.request, found.prediction
    settings = {f.name: getattr(request, f.name) for f in dataclasses.fields(request) if f.name != "adds"}
    return {
        "settings": settings | {"target": found.target, "gain": found.gain},
        "base": _loss(found.base),
        "subsets": [_loss(one) for one in found.subsets],
        "curve": _curve(prediction.curve),
        "domains": {name: _curve(curve) for name, curve in prediction.domains.items()},
        "backtest": prediction.backtest,
        "needed": prediction.needed,
        "stop": prediction.stop,
        "refusal": prediction.refusal,
        "check": None if full is None else _loss(full.measured) | {"predicted": full.predicted, "inside": full.inside},
    }


def _loss(loss: SubsetLoss) -> dict[str, Any]:
    documents = {name: len(pairs) for name, pairs in loss.domains.items()}
    return {"experts": loss.experts, "mean": loss.mean, "domains": loss.values, "documents": documents}


def _curve(curve: LossCurve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    law = {"floor": curve.law.floor, "drop": curve.law.drop, "shift": curve.law.shift, "straight": curve.law.straight}
    estimates = {name: getattr(curve, name) for name in ("full", "same", "fall")}
    finite = {
        name: value if not isinstance(value, float) or math.isfinite(value) else None for name, value in law.items()
    }
    return {"law": finite, "sizes": curve.sizes, "means": curve.means} | estimates

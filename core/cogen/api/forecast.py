"""``cogen.forecast``: what all experts together would reach, predicted from few measured subsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.api.checks import as_host, as_names, check_callable, check_number, check_reporter
from cogen.api.options import recipe_from_options
from cogen.choices import DTYPES, EVAL_LEVELS, FORECAST_STRATEGIES, check_choice
from cogen.errors import UsageError
from cogen.extras import require
from cogen.reporter import SILENT, Reporter, begin

if TYPE_CHECKING:
    from cogen.evals.curves import SubsetLoss
    from cogen.evals.forecast import Prediction
    from cogen.host import Host
    from cogen.runs.forecast import ForecastRequest, Work


@dataclass(frozen=True)
class Forecast:
    """Measured subsets, and what they say of the full set.

    :param base: the model without any expert, on the same documents.
    :param subsets: every measured subset: its experts, and (bits, bytes) of each document by domain.
    :param prediction: law, figures with intervals, or why there are none; see :class:`cogen.evals.forecast.Prediction`.
    :param target, gain: what ``prediction.needed`` and ``prediction.stop`` answer.
    """

    request: ForecastRequest
    base: SubsetLoss
    subsets: tuple[SubsetLoss, ...]
    prediction: Prediction
    target: float | None
    gain: float
    _host: Host = field(repr=False, compare=False)

    @property
    def experts(self) -> tuple[str, ...]:
        """The full set."""
        return self.request.experts

    def check(self, reporter: Reporter = SILENT) -> FullSet:
        """Build and measure the full set, on the same documents, and compare it with what was predicted."""
        from cogen.runs.forecast import Measurer

        check_reporter(reporter)
        measurer = Measurer(self._host, self.request, reporter)
        begin(reporter, f"measuring all {len(self.experts)} experts", None, "tokens")
        return FullSet.of(measurer.subset(self.experts), self.prediction)

    def _repr_html_(self) -> str:
        from cogen.display import table

        rows: list[list[object]] = [["base", 1, self.base.mean]]
        for size in self.request.sizes:
            means = [one.mean for one in self.subsets if one.size == size]
            rows.append([size, len(means), sum(means) / len(means)])
        refusal, curve = self.prediction.refusal, self.prediction.curve
        line = refusal.message if refusal else ""
        if curve is not None and not refusal:
            rows.append([f"{len(self.experts)}, predicted", "", curve.full.value])
            line = f"between {curve.full.low:.4f} and {curve.full.high:.4f} bits per byte"
        return table("subsets by number of experts", ("experts", "subsets", "bits per byte"), rows, (line,))


@dataclass(frozen=True)
class FullSet:
    """What the full set reached, beside its prediction.

    :param inside: is the measured mean within the interval over subsets, ``prediction.curve.same``? Both are of the
        same documents. ``None``: nothing was predicted.
    """

    measured: SubsetLoss
    predicted: float | None
    inside: bool | None

    @classmethod
    def of(cls, measured: SubsetLoss, prediction: Prediction) -> FullSet:
        """Compare."""
        curve = prediction.curve
        if curve is None or prediction.refusal is not None:
            return cls(measured, None, None)
        return cls(measured, curve.same.value, curve.same.low <= measured.mean <= curve.same.high)


def forecast(
    experts: Iterable[str] | None = None,
    *,
    strategy: str = "merge",
    method: str | None = None,
    total: float | Sequence[float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    routing: str | None = None,
    top_k: int | None = None,
    public_expert: str | None = None,
    target: float | None = None,
    gain: float = 0.005,
    subsets: int | None = None,
    up_to: int | None = None,
    level: str | None = None,
    documents: int | None = None,
    dtype: str | None = None,
    seed: int = 0,
    fresh: bool = False,
    on_work: Callable[[Work, ForecastRequest], None] | None = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Forecast:
    """Merge and measure random subsets of the experts, and fit the law of merging to their mean loss.

    Nothing is left on disk but figures in the cache. The full set is neither built nor measured:
    :meth:`Forecast.check` does that afterwards.

    :param experts: ids; left out: every installed expert. At least four.
    :param strategy: merge or moe; ``method`` and ``parameters``, ``routing``, ``top_k`` and ``public_expert`` as for
        :func:`cogen.fuse`.
    :param total: sum of the experts' scaling factors, whatever their number; default: 1, their average. Of several,
        each subset takes the one that is best on the dev splits of its own experts, as :func:`cogen.fuse` does.
    :param target: bits per byte, mean of all domains, that experts are counted for.
    :param gain: share of the loss that one more expert must save to pay.
    :param subsets: of each size; default: as many as experts, so that each expert occurs equally often.
    :param up_to: the largest subset; default: half of the experts, at least three.
    :param level: of the dev splits: quick (default: 500 tokens a suite) or full.
    :param documents: the first so many dev documents of each suite, in the place of a level.
    :param dtype: to compute in; default: bfloat16, float32 at the level full.
    :param fresh: measure again, whatever the cache holds.
    :param on_work: called with an estimate of the work before it begins; what it raises ends the run.
    :raises UsageError: too few experts or sizes, or an option that is wrong.
    :raises CompatibilityError: the experts cannot be fused in this way.
    """
    require("fuse", "cogen.forecast")
    from cogen.evals.forecast import predict
    from cogen.runs.forecast import Measurer, forecast_request

    check_reporter(reporter)
    check_callable("on_work", on_work)
    check_choice("strategy", strategy, FORECAST_STRATEGIES)
    own = {"routing": routing, "top_k": top_k, "public_expert": public_expert}
    recipe = _recipe(strategy, method=method, parameters=parameters, **own)
    if target is not None:
        check_number("target", target, 0)
    check_number("gain", gain, 0)
    for name, value, least in (("subsets", subsets, 2), ("up_to", up_to, 1), ("documents", documents, 1)):
        if value is not None:
            check_number(name, value, least, whole=True)
    check_number("seed", seed, 0, whole=True)
    if level is not None and documents is not None:
        raise UsageError("documents takes the place of a level", hint="leave one of the two out")
    found_level = check_choice("level", level or ("full" if documents is not None else "quick"), EVAL_LEVELS)
    names = None if experts is None else _named(experts)
    host = as_host(host)
    request = forecast_request(
        host,
        names,
        up_to,
        number=subsets,
        recipe=recipe,
        totals=_totals(total),
        level=found_level,
        documents=documents,
        dtype=check_choice("dtype", dtype or ("float32" if level == "full" else "bfloat16"), DTYPES),
        seed=seed,
        fresh=fresh,
    )
    measurer = Measurer(host, request, reporter)
    for id in measurer.unmeasured:
        reporter.note(f"{id} has no suite that can be run here: its domain is not measured")
    work = measurer.work()
    if on_work is not None:
        on_work(work, request)
    begin(reporter, "measuring the base", work.tokens, "tokens")
    base = measurer.base()
    measured = []
    for number, subset in enumerate(request.subsets, 1):
        reporter.describe(f"subset {number} of {len(request.subsets)}: {', '.join(subset)}")
        measured.append(measurer.subset(subset))
    prediction = predict(measured, len(request.experts), target=target, gain=gain)
    return Forecast(request, base, tuple(measured), prediction, target, gain, host)


def _recipe(strategy: str, **options: Any) -> dict[str, Any]:
    """Fields of the recipe of every subset.

    :raises UsageError: a value that an option does not take.
    """
    recipe = recipe_from_options(None, None, {"strategy": strategy, **options})  # type: ignore[typeddict-item]
    return recipe.model_dump(exclude_unset=True)


def _totals(total: float | Sequence[float] | None) -> tuple[float, ...]:
    totals = [] if total is None else [total] if not isinstance(total, Sequence) else list(total)
    for one in totals:
        check_number("total", one, 0)
    return tuple(sorted({float(one) for one in totals}))


def _named(experts: Iterable[str]) -> list[str]:
    names = as_names("experts", experts)
    if not names:  # a filter that left nothing must not measure everything
        raise UsageError("no expert is named", hint="name four, or leave `experts` out for all that are installed")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UsageError(f"{twice[0]} is named twice", hint="name it once")
    return names

"""Measuring merged subsets of experts on the dev splits of all their domains, for ``cogen forecast``."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cache import scratch
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import UsageError
from cogen.evals import BoundSuite, SuiteResult, count_tokens, model_digest, run_suites, suites_of
from cogen.evals.curves import SubsetLoss
from cogen.evals.forecast import SIZES
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.merge.measure import mean_log
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.selection import chosen_experts
from cogen.fusion.speed import seconds
from cogen.fusion.strategies import blamed, find_strategy
from cogen.fusion.strategy import Known, Run
from cogen.host import Host
from cogen.reporter import SILENT, Reporter
from cogen.runs.prepare import Prepared, prepare
from cogen.runs.subsets import balanced_subsets
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    from cogen.evals.settings import Level

#: Seconds for each gigabyte of a model that is merged, written, read and loaded, beside its tokens.
_SECONDS_A_GIGABYTE = 30


@dataclass(frozen=True)
class ForecastRequest:
    """What is measured.

    :param experts: the full set, sorted; ``sizes``: those of the subsets; ``number``: subsets of each size.
    :param recipe: fields of the recipe of each subset, but for experts, scale and level.
    :param totals: sums of the experts' scaling factors; of several, each subset takes what is best on the dev splits of
        its own experts. Empty: the strategy or method has no scale to choose.
    :param documents: of each dev split, the first so many at the level full; ``None``: all that the level takes.
    """

    experts: tuple[str, ...]
    sizes: tuple[int, ...]
    number: int
    recipe: Mapping[str, Any]
    totals: tuple[float, ...]
    adds: bool
    level: Level
    documents: int | None
    dtype: str
    seed: int
    fresh: bool = False

    @functools.cached_property
    def subsets(self) -> tuple[tuple[str, ...], ...]:
        """Smallest first."""
        draw = functools.partial(balanced_subsets, self.experts, number=self.number, seed=self.seed)
        return tuple(subset for size in self.sizes for subset in draw(size))


@dataclass(frozen=True)
class Work:
    """What measuring takes: models, the tokens of all of them, and seconds to a factor of two."""

    models: int
    tokens: int
    seconds: float


def forecast_request(host: Host, experts: Sequence[str] | None, up_to: int | None, **options: Any) -> ForecastRequest:
    """Check what can be checked before anything is opened.

    :param experts: ids; ``None``: all that are installed.
    :param up_to: the largest subset; default: half of the experts, at least three.
    :raises UsageError: too few experts for three sizes below the full set, a size that is not below it, no suites.
    """
    recipe, totals = dict(options.pop("recipe")), tuple(options.pop("totals"))
    chosen = sorted(
        chosen_experts(host, FuseRecipe(experts=dict.fromkeys(experts or (), 1.0))), key=lambda expert: expert.id
    )
    ids, n = tuple(expert.id for expert in chosen), len(chosen)
    if n <= SIZES:
        raise UsageError(
            f"a forecast needs at least {SIZES + 1} experts, and there {'is' if n == 1 else 'are'} {n}: its law needs "
            f"{SIZES} sizes of subsets below the full set",
            hint=f"measure all {n} with `cogen fuse`" if n > 1 else "install more experts",
        )
    largest = max(SIZES, (n + 1) // 2) if up_to is None else up_to
    if not SIZES <= largest < n:
        raise UsageError(
            f"the largest subset must have {SIZES} to {n - 1} of {n} experts (got {largest})",
            hint="leave --up-to out: the full set is what is predicted",
        )
    if not any(suites_of_domain(host, id) for id in ids):
        raise UsageError(
            "no expert has a bits-per-byte suite that can be run here", hint="choose experts that ship dev documents"
        )
    totals, adds = _scaling(host, FuseRecipe.model_validate(recipe), totals)
    number = options.pop("number") or n
    return ForecastRequest(ids, tuple(range(1, largest + 1)), number, recipe, totals, adds, **options)


def _scaling(host: Host, recipe: FuseRecipe, totals: tuple[float, ...]) -> tuple[tuple[float, ...], bool]:
    """The totals, 1 where none is given; and is each divided by the number of experts, or taken as it is?

    :raises UsageError: nothing takes a total.
    """
    if not find_strategy(host, recipe.strategy).scaled:
        taker, known, adds = f"strategy {recipe.strategy}", False, False
    else:
        method = find_method(host, recipe.method)
        taker, known, adds = f"method {method.name}", "scale" in method.parameters, method.adds
    if not known and totals:
        raise UsageError(f"{taker} takes no total of scaling factors", hint="leave --total out")
    return (totals or (1.0,) if known else (), adds)


def suites_of_domain(host: Host, id: str) -> list[BoundSuite]:
    """The bits-per-byte suites of an expert that can be run here."""
    return [bound for bound in suites_of(host.expert(id)) if bound.suite.metric == "bits_per_byte"]


@dataclass
class Measurer:
    """Measures subsets of one request, each by the code that fuses it; figures are kept in the cache of results."""

    host: Host
    request: ForecastRequest
    reporter: Reporter = SILENT
    suites: list[BoundSuite] = field(init=False)

    def __post_init__(self) -> None:
        self.suites = [bound for id in self.request.experts for bound in suites_of_domain(self.host, id)]

    @property
    def unmeasured(self) -> list[str]:
        """Experts that take part in subsets, but whose domain has no suite."""
        return [id for id in self.request.experts if all(bound.owner != id for bound in self.suites)]

    def work(self) -> Work:
        """An estimate for the subsets and the base, as if nothing were in the cache."""
        request = self.request
        largest = self._prepared(request.subsets[-1], request.totals[:1])
        plan = largest.plan
        tokens = sum(
            count_tokens(largest.inputs.tokenizer, self.suites, "dev", request.level, request.documents).values()
        )
        models = len(request.subsets) * max(1, len(request.totals)) + 1
        active = getattr(plan.details, "active", plan.cost.parameters)
        each = seconds(active, tokens) + _SECONDS_A_GIGABYTE * plan.cost.output_bytes / 1e9
        return Work(models, models * tokens, models * each)

    def base(self) -> SubsetLoss:
        """The base without any expert: what the mean of a size is compared with."""
        prepared = self._prepared(self.request.experts[:1], self.request.totals[:1])
        base = prepared.inputs.base
        results = self._run(prepared, lambda: load_model(base, self.request.dtype), model_digest(base))
        return SubsetLoss((), _domains(results))

    def subset(self, experts: tuple[str, ...]) -> SubsetLoss:
        """One subset on every domain; with several totals, at the one that is best for its own experts."""
        found = [self._measured(experts, (total,)) for total in self.request.totals] or [self._measured(experts, ())]
        own = [one for one in experts if any(bound.owner == one for bound in self.suites)]
        if len(found) == 1 or not own:
            return found[0]
        return min(found, key=lambda loss: mean_log({id: loss.values[id] for id in own}))

    def _measured(self, experts: tuple[str, ...], total: tuple[float, ...]) -> SubsetLoss:
        prepared = self._prepared(experts, total)
        version = importlib.metadata.version("cogen-core")
        key = canonical_digest({"inputs": prepared.plan.inputs_digest, "made by": ["forecast", version]})
        with scratch("forecast") as place:

            def load() -> Any:
                built(prepared, place)
                return load_model(open_folder(place), self.request.dtype)

            return SubsetLoss(experts, _domains(self._run(prepared, load, key)))

    def _prepared(self, experts: Sequence[str], total: Sequence[float]) -> Prepared:
        scale = {}
        for one in total:
            scale = {"scale": one / len(experts) if self.request.adds else one}
        fields = {**self.request.recipe, **scale, "experts": dict.fromkeys(experts, 1.0), "level": "none"}
        return prepare(self.host, FuseRecipe.model_validate(fields))

    def _run(self, prepared: Prepared, load: Callable[[], Any], digest: str) -> list[SuiteResult]:
        request = self.request
        return run_suites(
            load,
            prepared.inputs.tokenizer,
            self.suites,
            model_digest=digest,
            tokenizer_digest=prepared.plan.tokenizer_digest,
            split="dev",
            level=request.level,
            dtype=request.dtype,
            use_cache=not request.fresh,
            documents=request.documents,
            reporter=_Counting(self.reporter),
        )


def built(prepared: Prepared, folder: Path) -> None:
    """The plan's model in ``folder``, which is empty: as ``cogen fuse`` builds it, without lock, card and report."""
    with blamed(prepared.strategy, "build"):
        prepared.strategy.build(Run(prepared.plan, prepared.inputs, folder, Known(), SILENT, lambda stage: None))


def _domains(results: Sequence[SuiteResult]) -> dict[str, tuple[tuple[float, float], ...]]:
    """(bits, bytes) of every document by owner: all suites of an expert are one domain."""
    found: dict[str, tuple[tuple[float, float], ...]] = {}
    for result in results:
        found[result.owner] = found.get(result.owner, ()) + result.per_document
    return found


class _Counting:
    """Forwards what is done, not the label of each suite: the subset is what people wait for."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def describe(self, label: str) -> None:
        """Keeps it."""

    def advance(self, n: float = 1) -> None:
        self._reporter.advance(n)

    def note(self, text: str) -> None:
        self._reporter.note(text)

"""What an export costs: the same documents through the composite and through the exported model, in its own engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.devices import CPU
from cogen.exports.source import ExportSource
from cogen.exports.tools import ExportError
from cogen.reporter import Reporter, begin

if TYPE_CHECKING:
    from cogen.evals import BoundSuite, SuiteResult
    from cogen.host import Host

#: float32 logits on both sides: in bfloat16, noise of the order of what is measured would be added.
DTYPE = "float32"
#: Tokens of the text on which an export that quantizes nothing must be the same function.
_SAME_TOKENS = 256
#: Its bits per byte may differ by this share: other kernels sum in another order, and llama.cpp rounds activations.
_SAME = 0.01


@dataclass(frozen=True)
class SuiteCost:
    """One suite: bits per byte (or a share) of the composite and of the export, and their 95 % intervals.

    :param change: of the value, as a share of the composite's; with bits per byte, more is worse.
    """

    suite: str
    metric: str
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class CostReport:
    """All suites, and the composite's ones that were not measured.

    :param results: of the export, for the card's model index.
    :param low: with ``high`` the 95 % interval of ``change``; None where a suite has fewer than two documents.
    """

    level: str
    rows: tuple[SuiteCost, ...]
    missing: tuple[str, ...] = ()
    results: tuple[SuiteResult, ...] = field(default=(), repr=False)
    low: float | None = None
    high: float | None = None

    @property
    def change(self) -> float | None:
        """Mean change over the suites in bits per byte; None without one."""
        found = [row.change for row in self.rows if row.metric == "bits_per_byte"]
        return sum(found) / len(found) if found else None

    @property
    def documents(self) -> int:
        """Of the suites in bits per byte, together."""
        return sum(row.n for row in self.rows if row.metric == "bits_per_byte")

    @property
    def sentence(self) -> str:
        """The mean change with its interval and the number of documents, for people; empty without one."""
        if self.change is None:
            return ""
        bounds = ""
        if self.low is not None and self.high is not None:
            bounds = f" ({100 * self.low:+.2f} to {100 * self.high:+.2f} %)"
        return f"mean change in bits per byte: {100 * self.change:+.2f} %{bounds}, {self.documents} documents"


def suites_for(host: Host, source: ExportSource) -> tuple[list[BoundSuite], list[str]]:
    """(the composite's suites, the names of those whose experts are not installed); of a plain model, all.

    A composite that was fused without an evaluation has those of its experts and of general text.
    """
    from cogen.evals import GENERAL, general_suites, suites_of

    known = [bound for expert in host.experts() for bound in suites_of(expert)] + general_suites()
    if source.lock is None:
        return known, []
    wanted = [f"{suite.owner}/{suite.id}" for suite in source.lock.plan.suites]
    found = {bound.name: bound for bound in known}
    if not wanted:
        experts = {expert.id for expert in source.lock.plan.experts}
        own = [bound for bound in known if bound.owner in (*experts, GENERAL)]
        return own, sorted(f"{id} (not installed)" for id in experts - {expert.id for expert in host.experts()})
    return [found[name] for name in wanted if name in found], [name for name in wanted if name not in found]


def measure_cost(
    source: ExportSource,
    tokenizer: Any,
    suites: Sequence[BoundSuite],
    missing: Sequence[str],
    exported: tuple[Callable[[], Any], str],
    level: str,
    reporter: Reporter,
) -> CostReport:
    """Both models on the test split of every suite; answers that would have to be generated are left out.

    :param exported: loads the export, and its digest.
    :param level: quick or full.
    """
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_model
    from cogen.evals import count_tokens, model_digest, run_suites
    from cogen.evals.statistics import mean_ratio_interval

    texts = [bound for bound in suites if bound.suite.metric != "exact_match"]
    left = [bound.name for bound in suites if bound.suite.metric == "exact_match"] if level == "full" else []
    kind: Any = level
    total = 2 * sum(count_tokens(tokenizer, texts, "test", kind).values())
    begin(reporter, "measuring the cost", total, "tokens")
    found = []
    models: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: load_model(source.checkpoint, DTYPE), model_digest(source.checkpoint)),
        exported,
    )
    for model, digest in models:
        found.append(
            run_suites(
                model,
                tokenizer,
                texts,
                model_digest=digest,
                tokenizer_digest=tokenizer_digest(tokenizer),
                split="test",
                level=kind,
                dtype=DTYPE,
                reporter=reporter,
            )
        )
    rows = tuple(_cost(before, after) for before, after in zip(*found, strict=True))
    before, after = found
    both = [pair for pair in zip(after, before, strict=True) if pair[0].metric == "bits_per_byte"]
    low, high = (None if bound is None else bound - 1 for bound in mean_ratio_interval(both) or (None, None))
    return CostReport(level, rows, (*missing, *left), tuple(after), low, high)


def _cost(before: SuiteResult, after: SuiteResult) -> SuiteCost:
    """Paired by document; the bounds are of the change."""
    from cogen.evals import compare

    paired = compare(after, before)
    low, high = (None if bound is None else bound - 1 for bound in (paired.ratio_low, paired.ratio_high))
    return SuiteCost(
        suite=after.column,
        metric=after.metric,
        before=before.value,
        after=after.value,
        change=after.value / before.value - 1 if before.value else 0.0,
        low=low,
        high=high,
        n=after.n,
    )


def check_same(source: ExportSource, tokenizer: Any, exported: Any, what: str) -> float:
    """The difference in bits per byte on a fixed text, where nothing was quantized; as a share.

    :raises ExportError: the export is another function than the composite.
    """
    import torch

    from cogen.checkpoints.load import load_model
    from cogen.evals import calibration_texts

    ids = tokenizer("\n\n".join(calibration_texts()[:4]), return_tensors="pt")["input_ids"][:, :_SAME_TOKENS]
    own = load_model(source.checkpoint, DTYPE, device=CPU)  # where the exported engine is
    with torch.no_grad():
        values = [_loss(model(ids).logits.float(), ids) for model in (own, exported)]
    difference = values[1] / values[0] - 1
    if not abs(difference) <= _SAME:
        raise ExportError(
            f"{what} is another function than {source.name}: {values[1]:.4f} nats a token where the composite has "
            f"{values[0]:.4f}",
            hint="the tool does not know something of this architecture; use another format",
        )
    return difference


def _loss(logits: Any, ids: Any) -> float:
    import torch

    return float(torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]))

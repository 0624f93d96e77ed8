"""Rows of a matrix that no single model gives: the routed experts, their ensembles, and the oracle.

All are lines that a fusion is measured against. The oracle knows which suite a document comes from; an ensemble runs
every model on every token.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError, EvalError
from cogen.evals import GENERAL, Settings, SuiteResult, store
from cogen.evals.matrix import BASE
from cogen.evals.statistics import interval, ratio_of_sums
from cogen.fusion.route.documents import Documents
from cogen.fusion.route.members import Member
from cogen.fusion.route.posterior import KAPPA, mixed_scores
from cogen.fusion.route.scores import token_scores
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    import torch

ROUTE, ENSEMBLE, POSTERIOR, ORACLE = "route", "ensemble", "posterior", "oracle"
_BITS_PER_NAT = 1.4426950408889634  # 1 / ln 2
#: Raised when the computation of an ensemble changes, so that what an older version kept is not used.
_VERSION = 1
#: Model → its results.
Results = Mapping[str, Sequence[SuiteResult]]


def route_row(
    documents: Sequence[Documents], routed: Mapping[str, Sequence[str]], results: Results, settings: Settings
) -> list[SuiteResult]:
    """Per document the figure of the model that it goes to.

    :param routed: column → the name of a model for each document.
    :param results: of every model that one of these columns names, at least on that column.
    """
    cells = _cells(results)
    row = []
    for one in documents:
        names = routed[one.column]
        used = {name: cells[name][one.column] for name in sorted({*names})}
        if any(result.documents != one.digest or result.n != len(names) for result in used.values()):
            raise EvalError(f"{one.column}: what was routed is not what was measured", hint="measure it again: --fresh")
        pairs = tuple(used[name].per_document[i] for i, name in enumerate(names))
        key = canonical_digest([ROUTE, list(names), {name: result.key for name, result in used.items()}])
        row.append(_derived(next(iter(used.values())), pairs, key, settings))
    return row


def oracle_row(results: Results) -> list[SuiteResult]:
    """Every suite by the expert that owns it, general ones by the base; no cell where that model is not there."""
    cells = _cells(results)
    columns = dict.fromkeys((cell.owner, name) for found in cells.values() for name, cell in found.items())
    owners = [(BASE if owner == GENERAL else owner, name) for owner, name in columns]
    return [cells[owner][name] for owner, name in owners if name in cells.get(owner, {})]


def can_ensemble(members: Mapping[str, Member]) -> bool:
    """Probabilities of next tokens can only be averaged where all mean the same tokens."""
    return len({member.tokenizer_digest for member in members.values()}) == 1


def check_ensemble(members: Mapping[str, Member]) -> None:
    """:raises CompatibilityError: the members have several tokenizers."""
    if not can_ensemble(members):
        raise CompatibilityError("models with different tokenizers have no ensemble", hint="leave it out")


def ensemble_row(
    members: Mapping[str, Member],
    documents: Sequence[Documents],
    results: Results,
    settings: Settings,
    progress: Any = None,
    *,
    posterior: bool = False,
) -> list[SuiteResult]:
    """A mixture of all members' next-token probabilities: ``log mean exp`` of their log-likelihoods, token by token.
    Suites of bits_per_byte only; kept in the cache of results.

    Every model runs once more on every text, one in memory at a time.

    :param results: of every member, on every column.
    :param posterior: weighted by :mod:`cogen.fusion.route.posterior`, not all alike.
    :raises CompatibilityError: the members have several tokenizers.
    """
    check_ensemble(members)
    cells = _cells(results)
    made: dict[str, SuiteResult] = {}
    missing = []
    for one in documents:
        if one.bound.suite.metric != "bits_per_byte":
            continue
        keys = sorted(cells[name][one.column].key for name in members)
        key = canonical_digest([POSTERIOR, _VERSION, KAPPA, keys] if posterior else [ENSEMBLE, _VERSION, keys])
        kept = store.load(key, one.bound)
        if kept is None:
            missing.append((one, key))
            continue
        made[one.column] = kept
        if progress:
            progress.advance(kept.tokens * len(members))
    start = time.perf_counter()
    mixtures = _posterior_mixtures if posterior else _mixtures
    logs = mixtures(members, [one for one, _ in missing], settings, progress)
    seconds = round(time.perf_counter() - start, 3)
    for (one, key), found in zip(missing, logs, strict=True):
        example = cells[next(iter(members))][one.column]
        pairs = tuple(
            (-float(log) * _BITS_PER_NAT, bottom) for log, (_, bottom) in zip(found, example.per_document, strict=True)
        )
        made[one.column] = _derived(example, pairs, key, settings, seconds)
        store.save(made[one.column])
    return [made[one.column] for one in documents if one.column in made]


def _mixtures(
    members: Mapping[str, Member], documents: Sequence[Documents], settings: Settings, progress: Any
) -> list[list[float]]:
    """Log-likelihood in nats of every document by the mixture of all members."""
    import math

    import torch

    sums: list[list[torch.Tensor]] = []
    # The order is that of the names: a permutation of the members gives the same bits.
    for id in sorted(members) if documents else ():
        if progress:
            progress.describe(f"{ENSEMBLE}: {id}")
        own = _all_scores(members[id], documents, settings, progress)
        sums = [list(map(torch.logaddexp, *pair)) for pair in zip(sums, own, strict=True)] if sums else own
    share = math.log(len(members))
    return [[float((total - share).sum()) for total in one] for one in sums]


def _posterior_mixtures(
    members: Mapping[str, Member], documents: Sequence[Documents], settings: Settings, progress: Any
) -> list[list[float]]:
    """As :func:`_mixtures`, weighted by each member's likelihood of the text before."""
    import torch

    every = []
    # The order is that of the names: a permutation of the members gives the same bits.
    for id in sorted(members) if documents else ():
        if progress:
            progress.describe(f"{POSTERIOR}: {id}")
        every.append(_all_scores(members[id], documents, settings, progress))
    return [
        [float(mixed_scores(torch.stack(scores)).sum()) for scores in zip(*suite, strict=True)]
        for suite in zip(*every, strict=True)
    ]


def _all_scores(
    member: Member, documents: Sequence[Documents], settings: Settings, progress: Any
) -> list[list[torch.Tensor]]:
    """Token scores of every text; the model is gone when this returns."""
    model = member.load(settings.dtype)
    return [
        [token_scores(model, member.tokenizer, text, settings, progress) for text in one.queries] for one in documents
    ]


def _cells(results: Results) -> dict[str, dict[str, SuiteResult]]:
    return {name: {result.column: result for result in found} for name, found in results.items()}


def _derived(
    like: SuiteResult, pairs: tuple[tuple[float, float], ...], key: str, settings: Settings, seconds: float = 0.0
) -> SuiteResult:
    low, high = interval(pairs, settings, like.clusters) or (None, None)
    return dataclasses.replace(
        like, value=ratio_of_sums(pairs), low=low, high=high, per_document=pairs, key=key, seconds=seconds, cached=False
    )

"""How well token counts route among many domains, and what is left of it when evidence is kept in fewer dimensions.

Everything is computed as a checkpoint with routing ``prefix`` would: CoGen's own evidence, kernel and constants, token
by token over held-out documents. What differs is the matrix that stands for the evidence:

- ``exact``: one dimension of the stream for every expert (twice: a token's own, and the mean).
- ``svd``: E ≈ U V' with r dimensions; the embedding holds U, routers hold V.
- ``fitted``: U and V fitted to name the text, from there: what CoGen builds (:mod:`cogen.routing.lowrank`).
- ``random``: U = E R, V = Rᵀ with R random of unit variance: what hashing to r dimensions would keep.
- ``groups``: evidence for r groups of similar experts, each with the summed counts of its members.
- ``two levels``: the best group first, then exact evidence among its members alone: not one checkpoint, but a router
  before one mixture for each group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Tokens after which a document's routing is looked at, and most tokens of a document.
POSITIONS, LONGEST = (8, 16, 32, 64, 128), 256
#: Is the right expert among so many?
RECALLS = (1, 2, 4, 8, 16)
#: Constants of the planner: what mean evidence is multiplied by, and what the prefix token weighs.
STRENGTH, MASS = 20.0, 20.0


@dataclass(frozen=True)
class Encoded:
    """Token ids of a domain's training text, and of its held-out documents."""

    name: str
    counts: torch.Tensor
    documents: tuple[torch.Tensor, ...]


def kernel_matrix() -> torch.Tensor:
    """``A[t, s]`` such that ``A @ E[tokens]`` is the mean evidence at token t; of a model like SmolLM2."""
    import numpy as np
    import torch

    from cogen.routing.kernel import Rotary, fit_kernel

    kernel = fit_kernel(Rotary(100_000.0 ** (-np.arange(0, 64, 2) / 64), 1.0, 8192))
    weights = np.exp(kernel.log(np.arange(LONGEST)))
    found = np.zeros((LONGEST, LONGEST))
    for t in range(LONGEST):
        found[t, : t + 1] = weights[: t + 1][::-1]
    return torch.from_numpy(found / (found.sum(1, keepdims=True) + MASS)).float()


def designs(
    evidence: torch.Tensor,
    weights: torch.Tensor,
    ranks: Sequence[int],
    counts: Sequence[torch.Tensor],
    general: torch.Tensor,
) -> Iterator[tuple[str, int, Any, Any]]:
    """(name, dimensions, token features of shape (tokens, r), readouts of shape (experts, r)).

    :param evidence: shape (tokens, experts), float32; ``weights``: frequency of each token; ``counts``: of each domain.
    """
    import torch

    from cogen.routing.kernel import MEMORY
    from cogen.routing.lowrank import factors, fitted

    experts = evidence.shape[1]
    yield "exact", experts, evidence, torch.eye(experts)
    generator = torch.Generator().manual_seed(0)
    for rank in (rank for rank in ranks if rank < experts):
        start = factors(evidence, weights, rank)
        yield "svd", rank, start[0].float(), start[1].float()
        yield "fitted", rank, *fitted(start, counts, general, strength=STRENGTH, mass=MASS, memory=MEMORY)
        drawn = torch.randn(experts, rank, generator=generator) / math.sqrt(rank)
        yield "random", rank, evidence @ drawn, drawn


def clusters(basis: torch.Tensor, count: int) -> torch.Tensor:
    """Which group each expert is in, shape (experts,): Ward's method on its evidence, read through a basis.

    :param basis: shape (experts, dimensions), scaled so that distances are those of evidence.
    """
    import torch
    from scipy.cluster.hierarchy import fcluster, linkage

    found = fcluster(linkage(basis.numpy(), "ward"), count, "maxclust")
    return torch.from_numpy(found.astype("int64") - 1)


def routed(
    features: torch.Tensor,
    readouts: torch.Tensor,
    domains: Sequence[Encoded],
    right: torch.Tensor,
    kernel: torch.Tensor,
    *,
    half: bool = False,
    groups: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Ranks of the right expert over all held-out documents.

    :param right: of each domain, the row of ``readouts`` that is right.
    :param half: the mean and the readouts are rounded to bfloat16, as a checkpoint of that type has them.
    :param groups: evidence of groups, shape (tokens, groups), and which one each row of ``readouts`` is in: only rows
        of the first group are candidates.
    :returns: share of documents with the right one among the first so many, by position; the same of all tokens; the
        softmax's weight of the right one among the two best and the public slot; intervals over domains.
    """
    import torch

    among: list[list[float]] = []  # a row a domain
    places: dict[int, list[list[float]]] = {position: [] for position in POSITIONS}
    shares = []
    if half:
        features, readouts = features.bfloat16().float(), readouts.bfloat16().float()
    documents = 0
    for number, domain in enumerate(domains):
        ranks, weights = [], []
        at: dict[int, list[torch.Tensor]] = {position: [] for position in POSITIONS}
        for tokens in domain.documents:
            mean = kernel[: len(tokens), : len(tokens)] @ features[tokens]
            if half:
                mean = mean.bfloat16().float()
            logits = mean @ readouts.T
            if groups is not None:
                first = (kernel[: len(tokens), : len(tokens)] @ groups[0][tokens]).argmax(1)
                logits = logits.masked_fill(groups[1][None] != first[:, None], -math.inf)
            own = logits[:, right[number] : right[number] + 1]
            rank = torch.where(own[:, 0] > -math.inf, (logits > own).sum(1), logits.shape[1])
            ranks.append(rank)
            for position in (position for position in POSITIONS if position <= len(tokens)):
                at[position].append(rank[position - 1])
            weights.append(_weight(logits, own[:, 0]))
            documents += 1
        all_ranks = torch.cat(ranks)
        among.append([float((all_ranks < k).float().mean()) for k in RECALLS])
        shares.append(float(torch.cat(weights).mean()))
        for position, found in at.items():
            if found:
                places[position].append([float((torch.stack(found) < k).float().mean()) for k in RECALLS])
    return {
        "documents": documents,
        "tokens": {k: interval([row[i] for row in among]) for i, k in enumerate(RECALLS)},
        "weight": interval(shares),
        "by position": {
            position: {k: interval([row[i] for row in rows]) for i, k in enumerate(RECALLS)} | {"domains": len(rows)}
            for position, rows in places.items()
            if rows
        },
    }


def _weight(logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The right expert's weight when the two best slots of a token, the public one (logit 0) among them, are mixed."""
    import torch

    slots = torch.cat([logits, torch.zeros(len(logits), 1)], 1) * STRENGTH
    best = slots.topk(2, dim=1).values
    found = (own * STRENGTH - best.logsumexp(1)).exp()
    return torch.where(own * STRENGTH >= best[:, 1], found, torch.zeros_like(found))


def public_share(
    features: torch.Tensor, readouts: torch.Tensor, documents: Sequence[torch.Tensor], kernel: torch.Tensor
) -> list[float]:
    """Share of general text's tokens that no expert has a logit above 0 for, and its interval over documents."""
    found = []
    for tokens in documents:
        logits = kernel[: len(tokens), : len(tokens)] @ features[tokens] @ readouts.T
        found.append(float((logits <= 0).all(1).float().mean()))
    return interval(found)


def interval(values: Sequence[float]) -> list[float]:
    """Mean, and the ends of its 95 % interval: bootstrap over domains, 1,000 draws."""
    import numpy as np

    draw = np.random.default_rng(0)
    numbers = np.array(values)
    means = numbers[draw.integers(0, len(numbers), (1000, len(numbers)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [round(float(x), 4) for x in (numbers.mean(), low, high)]


def evidence_of(counts: Mapping[str, torch.Tensor], general: torch.Tensor) -> torch.Tensor:
    """Shape (tokens, experts), float32, in the order of ``counts``."""
    import torch

    from cogen.routing.evidence import log_odds

    found = log_odds(counts, general, (), pooled=True)
    return torch.stack([found[name].float() for name in counts], 1)

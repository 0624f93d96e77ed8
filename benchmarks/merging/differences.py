"""The references of the methods that sum differences from a base: task arithmetic, TIES, … See `references.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from merging.references import Array, Mask, Merged

#: Sums closer to 0 than this, relative to their terms, have no certain sign in float32.
NEARLY = 2.0**-20


def task_arithmetic(
    base: Array, experts: list[Array], *, weight: list[float], normalize: bool = False, scale: float = 1.0
) -> Array:
    """base + λ Σ w·δ (arXiv:2212.04089); ``scale`` is λ."""
    return base + scale * sum(w * (e - base) for w, e in zip(weight, experts, strict=True)) / (
        sum(weight) if normalize else 1.0
    )


def elected(base: Array, trimmed: list[Array], weight: list[float], normalize: bool, scale: float) -> Merged:
    """The second half of TIES: of each position the sign of Σ w·τ; only entries of that sign are averaged."""
    terms = [w * t for w, t in zip(weight, trimmed, strict=True)]
    vote = sum(terms)
    agrees = [(np.sign(term) == np.sign(vote)) & (term != 0) for term in terms]
    total = sum(np.where(own, term, 0) for own, term in zip(agrees, terms, strict=True))
    count = sum(np.where(own, w, 0) for w, own in zip(weight, agrees, strict=True))
    mean = np.divide(total, count, where=count != 0, out=np.zeros_like(total)) if normalize else total
    spread = sum(np.abs(term) for term in terms)
    return Merged(base + scale * mean, (np.abs(vote) <= NEARLY * spread) & (spread > 0))


def first_largest(magnitude: Array, count: int) -> tuple[Mask, Mask]:
    """(the ``count`` largest, of equal ones the first; those equal ones that the cut goes through)."""
    flat = magnitude.reshape(-1).astype(np.float32)  # magnitudes are compared in float32
    order = np.argsort(-flat, kind="stable")
    kept = np.zeros(flat.shape, bool)
    kept[order[:count]] = True
    cut = np.zeros(flat.shape, bool)
    if 0 < count < flat.size and flat[order[count - 1]] == flat[order[count]]:
        cut = (flat == flat[order[count]]) & (flat > 0)  # kept or not, a 0 stays 0
    return kept.reshape(magnitude.shape), cut.reshape(magnitude.shape)


def trim(change: Array, density: float) -> tuple[Array, Mask]:
    """The ``density`` share of largest magnitude, at least one (arXiv:2306.01708, section 4.1), of one tensor."""
    if density >= 1:
        return change, np.zeros(change.shape, bool)
    count = max(1, int(density * change.size)) if density > 0 and change.size else 0
    kept, cut = first_largest(np.abs(change), count)
    return change * kept, cut


def band(change: Array, density: float, gamma: float) -> tuple[Array, Mask]:
    """Without the ``gamma`` share of the largest, then the largest ``density`` share (arXiv:2312.06795, and guide)."""
    if density >= 1:
        return change, np.zeros(change.shape, bool)
    kept = int(density * change.size)
    top = min(int(gamma * change.size), change.size - kept)
    above, cut_above = first_largest(np.abs(change), top)
    inside, cut_below = first_largest(np.abs(change), top + kept)
    return change * (inside & ~above), cut_above | cut_below


def _summed(base: Array, parts: list[tuple[Array, Mask]], weight: list[float], normalize: bool, scale: float) -> Merged:
    total = sum(w * part for w, (part, _) in zip(weight, parts, strict=True))
    unsure = np.any([cut for _, cut in parts], axis=0)
    return Merged(base + scale * total / (sum(weight) if normalize else 1.0), unsure)


def _voted(base: Array, parts: list[tuple[Array, Mask]], weight: list[float], normalize: bool, scale: float) -> Merged:
    found = elected(base, [part for part, _ in parts], weight, normalize, scale)
    return Merged(found.value, found.unsure | np.any([cut for _, cut in parts], axis=0))


def ties(base: Array, experts: list[Array], *, density: list[float], **election: Any) -> Merged:
    """arXiv:2306.01708 with trimming per tensor and votes by weighted differences."""
    parts = [trim(e - base, d) for e, d in zip(experts, density, strict=True)]
    return _voted(base, parts, **({"normalize": True, "scale": 1.0} | election))


def breadcrumbs(elect: bool) -> Callable[..., Merged]:
    """arXiv:2312.06795, per tensor; with the election of TIES or without."""

    def merged(base: Array, experts: list[Array], *, density: list, gamma: list, **sum_: Any) -> Merged:
        parts = [band(e - base, d, g) for e, d, g in zip(experts, density, gamma, strict=True)]
        return (_voted if elect else _summed)(base, parts, **({"normalize": False, "scale": 1.0} | sum_))

    return merged


def dropped(elect: bool, normalize: bool) -> Callable[..., Merged]:
    """DARE (arXiv:2311.03099) and DELLA (arXiv:2406.11617): what is kept is divided by its probability of being kept.

    ``kept`` (0 or 1) and ``probability`` are arrays, one an expert; neither matters where the density is 1.
    """

    def merged(
        base: Array,
        experts: list[Array],
        *,
        density: list[float],
        kept: Sequence[Array] = (),
        probability: Sequence[Any] = (),
        rescale: bool = True,
        epsilon: list[float] | None = None,
        **sum_: Any,
    ) -> Merged:
        changes = [e - base for e in experts]
        for index, share in enumerate(density):
            if share < 1:
                p = probability[index] if probability else share
                changes[index] = changes[index] * kept[index] / (p if rescale else 1.0)
        parts = [(change, np.zeros(base.shape, bool)) for change in changes]
        return (_voted if elect else _summed)(base, parts, **({"normalize": normalize, "scale": 1.0} | sum_))

    return merged


def keep_probability(change: Array, density: float, epsilon: float) -> Array:
    """DELLA: from ``density - epsilon`` for a row's smallest magnitude to ``density + epsilon`` for its largest."""
    rows = np.abs(change).reshape(change.shape[0] if change.ndim > 1 else 1, -1)
    rank = np.argsort(np.argsort(rows, axis=1, kind="stable"), axis=1, kind="stable")
    share = rank / max(1, rows.shape[1] - 1)
    return (density - epsilon + 2 * epsilon * share).reshape(change.shape)


def sce(base: Array, experts: list[Array], *, select_topk: float = 1.0) -> Merged:
    """Select by variance, calculate weights by mean squares, erase minority signs (arXiv:2408.07990, section 3.3)."""
    changes = np.stack([e - base for e in experts])
    unsure = np.zeros(base.shape, bool)
    if select_topk < 1:
        variance = changes.var(axis=0)
        count = int(select_topk * base.size)
        kept, unsure = first_largest(variance, count)
        if 0 < count < base.size:
            threshold = np.sort(variance.reshape(-1))[-count]
            unsure = unsure | (np.abs(variance - threshold) <= 1e-5 * threshold)
        changes = changes * kept
    squares = np.array([np.mean(change**2) for change in changes])
    weight = squares / squares.sum() if squares.any() else np.full(len(experts), 1 / len(experts))
    vote = changes.sum(axis=0)
    agrees = (np.sign(changes) == np.sign(vote)) & (changes != 0)
    shares = agrees * weight.reshape(-1, *[1] * base.ndim)
    found = np.divide(
        (changes * shares).sum(axis=0), shares.sum(axis=0), where=agrees.any(axis=0), out=np.zeros_like(base)
    )
    spread = np.abs(changes).sum(axis=0)
    return Merged(base + found, unsure | ((np.abs(vote) <= NEARLY * spread) & (spread > 0)))


def ram(base: Array, experts: list[Array], *, epsilon: float = 1e-5) -> Merged:
    """Changes of one model stay, those of several are averaged over them (arXiv:2601.13572)."""
    return _reinforced(base, experts, epsilon, [1.0] * len(experts))


def ramplus_tl(
    base: Array, experts: list[Array], *, r: float = 0.1, alpha: float = 0.2, epsilon: float = 1e-5
) -> Merged:
    """RAM+ by tensors: unique changes times 1 + r·clip(ρ, 0, α), ρ the ratio of the model's shared to unique ones."""
    changed = np.stack([np.abs(e - base) > epsilon for e in experts])
    count = changed.sum(axis=0)
    factors = []
    for own in changed:
        shared, unique = int((own & (count > 1)).sum()), int((own & (count == 1)).sum())
        rho = shared / unique if unique else (np.inf if shared else 0.0)
        factors.append(1 + r * float(np.clip(rho, 0, alpha)))
    return _reinforced(base, experts, epsilon, factors)


def _reinforced(base: Array, experts: list[Array], epsilon: float, factors: list[float]) -> Merged:
    changes = np.stack([e - base for e in experts])
    changed = np.abs(changes) > epsilon
    count = changed.sum(axis=0)
    parts = np.where(count == 1, changes * np.reshape(factors, (-1, *[1] * base.ndim)), changes / np.maximum(count, 1))
    unsure = (np.abs(np.abs(changes) - epsilon) <= NEARLY * epsilon).any(axis=0)
    return Merged(base + np.where(changed, parts, 0).sum(axis=0), unsure)


DIFFERENCES: dict[str, Callable[..., Array | Merged]] = {
    "task_arithmetic": task_arithmetic,
    "ties": ties,
    "breadcrumbs": breadcrumbs(elect=False),
    "breadcrumbs_ties": breadcrumbs(elect=True),
    "dare_linear": dropped(elect=False, normalize=False),
    "dare_ties": dropped(elect=True, normalize=False),
    "della": dropped(elect=True, normalize=True),
    "della_linear": dropped(elect=False, normalize=False),
    "sce": sce,
    "ram": ram,
    "ramplus_tl": ramplus_tl,
}

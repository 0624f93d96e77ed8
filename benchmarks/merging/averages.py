"""The references of the methods that choose or average weights themselves. See `references.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from merging.references import Array, Merged


def linear(_: Array | None, experts: list[Array], *, weight: list[float], normalize: bool = True) -> Array:
    """Σ wE / Σ w (arXiv:2203.05482)."""
    total = sum(w * e for w, e in zip(weight, experts, strict=True))
    return total / sum(weight) if normalize else total


def passthrough(_: Array | None, experts: list[Array], *, scale: list[float | None]) -> Array:
    """The one model's tensor, multiplied by its scale."""
    return experts[0] * (1.0 if scale[0] is None else scale[0])


def nearswap(base: Array, experts: list[Array], *, t: float) -> Array:
    """w·other + (1-w)·base, w = clip(t/|base - other|, 0, 1)."""
    other = experts[0]
    with np.errstate(divide="ignore"):
        w = np.clip(np.divide(t, np.abs(base - other)), 0, 1)
    return np.where(base == other, base, w * other + (1 - w) * base)


def model_stock(base: Array, experts: list[Array], *, filter_wise: bool = False) -> Merged:
    """t·mean(E) + (1-t)·base, t = N·c/(1 + (N-1)·c), c the mean cosine of two differences (arXiv:2403.19522).

    An interpolation, so t is not negative; the paper's picture has no negative c.
    """
    n = len(experts)
    rows = (base.shape[0], -1) if filter_wise and base.ndim > 1 else (1, -1)
    changes = [(e - base).reshape(rows) for e in experts]
    cosines = []
    for i, left in enumerate(changes):
        for right in changes[i + 1 :]:
            product = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
            dot = (left * right).sum(axis=1)
            cosines.append(np.divide(dot, product, where=product > 0, out=np.zeros_like(dot)))
    c = np.mean(cosines, axis=0)[:, None]
    t = n * np.maximum(c, 0) / (1 + (n - 1) * np.maximum(c, 0))
    merged = base.reshape(rows) + t * np.mean(changes, axis=0)
    opposed = np.broadcast_to(c <= 0, merged.shape) & np.any(changes, axis=0)
    return Merged(merged.reshape(base.shape), opposed.reshape(base.shape))


def arcee_fusion(base: Array, experts: list[Array]) -> Merged:
    """The model's value where |δ|·KL is at least median + 1.5 interquartile ranges, the base's elsewhere.

    KL is that of the softmax of the model's row from the softmax of the base's. The guide names the ingredients only;
    the formula is the tool's.
    """
    other = experts[0]
    p, q = _softmax(other), _softmax(base)
    divergence = (p * np.log(p / q)).sum(axis=-1, keepdims=True) if base.ndim else np.zeros(())
    importance = np.abs(other - base) * divergence
    ordered = np.sort(importance.reshape(-1))
    first, median, third = (ordered[int(share * (ordered.size - 1))] for share in (0.25, 0.5, 0.75))
    threshold = median + 1.5 * (third - first)
    return Merged(
        np.where(importance >= threshold, other, base), np.abs(importance - threshold) <= 1e-3 * np.abs(threshold)
    )


def _softmax(x: Array) -> Array:
    if not x.ndim:
        return np.ones(())
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


AVERAGES: dict[str, Callable[..., Array | Merged]] = {
    "linear": linear,
    "passthrough": passthrough,
    "nearswap": nearswap,
    "model_stock": model_stock,
    "arcee_fusion": arcee_fusion,
}

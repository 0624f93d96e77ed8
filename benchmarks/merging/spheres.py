"""The references of the methods that turn vectors: slerp and its relatives. See `references.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from merging.references import Array, Merged


def arc(left: Array, right: Array, t: float, axis: int | None = None) -> Array:
    """sin((1-t)θ)/sin θ · left + sin(tθ)/sin θ · right, θ the angle of the two (Shoemake 1985).

    The vectors run along ``axis``; ``None``: the whole tensor is one. Of parallel ones (1-t)·left + t·right, the limit.
    """
    if axis is None:
        return arc(left.reshape(1, -1), right.reshape(1, -1), t, 1).reshape(left.shape)
    unit = [v / _length(v, axis) for v in (left, right)]
    # Half the angle by its tangent: unlike the arc cosine it is exact for the small angles of fine-tuning.
    apart = np.linalg.norm(unit[0] - unit[1], axis=axis, keepdims=True)
    along = np.linalg.norm(unit[0] + unit[1], axis=axis, keepdims=True)
    angle = 2 * np.arctan2(apart, along)
    sine = np.sin(angle)
    parallel = sine < 1e-12
    safe = np.where(parallel, 1.0, sine)
    own = np.where(parallel, 1 - t, np.sin((1 - t) * angle) / safe)
    other = np.where(parallel, t, np.sin(t * angle) / safe)
    return own * left + other * right


def _length(v: Array, axis: int) -> Array:
    length = np.linalg.norm(v, axis=axis, keepdims=True)
    return np.where(length == 0, 1.0, length)


def undirected(left: Array, right: Array, axis: int | None = None) -> Array:
    """Where one of the two is zero, and so has no angle to the other, which is not zero."""
    if axis is None:
        return np.full(left.shape, np.any(left) != np.any(right))
    return np.broadcast_to(
        np.any(left, axis=axis, keepdims=True) != np.any(right, axis=axis, keepdims=True), left.shape
    )


def slerp(base: Array, experts: list[Array], *, t: float) -> Merged:
    """From the base at t = 0 to the other model at t = 1, the whole tensor as one vector."""
    return Merged(arc(base, experts[0], t), undirected(base, experts[0]))


def nuslerp(
    base: Array | None,
    experts: list[Array],
    *,
    weight: list[float],
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> Merged:
    """Slerp of two models, or of their differences from a base, at t = w₂/(w₁ + w₂); by tensors, columns or rows."""
    t = weight[1] / (weight[0] + weight[1])
    left, right = experts if base is None else [e - base for e in experts]
    axis = None if nuslerp_flatten or left.ndim < 2 else 1 if nuslerp_row_wise else 0
    turned = arc(left, right, t, axis)
    return Merged(turned if base is None else base + turned, undirected(left, right, axis))


def multislerp(
    base: Array | None,
    experts: list[Array],
    *,
    weight: list[float],
    normalize_weights: bool = True,
    eps: float = 1e-8,
) -> Array:
    """Barycentre on the sphere, by the tangent space at the weighted mean; its length is the weighted sum of lengths.

    The logarithm map takes every unit vector to the tangent space, the exponential map takes the weighted mean back.
    The sum of the weights counts for the length only: a barycentre has none. (``eps`` guards divisions; none here.)
    """
    if len(experts) == 1:
        return experts[0]
    vectors = [(e if base is None else e - base).reshape(-1) for e in experts]
    shares = np.array(weight) / sum(weight)
    lengths, units = directions(vectors)
    mean = sum(w * u for w, u in zip(shares, units, strict=True))
    if not np.any(mean):
        turned = np.zeros_like(mean)
    else:
        mean = mean / np.linalg.norm(mean)
        tangent = sum(w * logarithm(mean, u) for w, u in zip(shares, units, strict=True) if np.any(u))
        turned = exponential(mean, tangent) * (shares @ lengths) * (1.0 if normalize_weights else sum(weight))
    turned = turned.reshape(experts[0].shape)
    return turned if base is None else base + turned


def karcher(_: Array | None, experts: list[Array], *, max_iter: int = 10, tol: float = 1e-5) -> Merged:
    """The unit vector of least squared angles to all, times the mean length (arXiv:2603.04972).

    As far as ``max_iter`` steps lead. Steps may end when one is shorter than ``tol``, which leaves the coefficients of
    the inputs uncertain by a few times that.
    """
    if len(experts) == 1:
        return Merged(experts[0])
    lengths, units = directions([e.reshape(-1) for e in experts])
    units = [u for u in units if np.any(u)]
    if not units:
        return Merged(np.zeros_like(experts[0]))
    mean = np.mean(units, axis=0)
    mean = mean / np.linalg.norm(mean) if np.any(mean) else units[0]
    for _step in range(max_iter):
        tangent = np.mean([logarithm(mean, u) for u in units], axis=0)
        mean = exponential(mean, tangent)
        if np.linalg.norm(tangent) < 1e-14:
            break
    value = (mean * np.mean(lengths)).reshape(experts[0].shape)
    return Merged(value, slack=10 * tol * np.abs(experts).sum(axis=0))


def directions(vectors: list[Array]) -> tuple[Array, list[Array]]:
    """Lengths and unit vectors; zeros stay zeros."""
    lengths = np.array([np.linalg.norm(v) for v in vectors])
    return lengths, [v / length if length else v for v, length in zip(vectors, lengths, strict=True)]


def logarithm(at: Array, unit: Array) -> Array:
    """The tangent vector at ``at`` that leads to ``unit``: as long as their angle."""
    flat = unit - (unit @ at) * at
    length = np.linalg.norm(flat)
    angle = 2 * np.arctan2(np.linalg.norm(unit - at), np.linalg.norm(unit + at))
    return flat * (angle / length if length > 0 else 1.0)


def exponential(at: Array, tangent: Array) -> Array:
    """Where the great circle from ``at`` along ``tangent`` ends; a unit vector."""
    angle = np.linalg.norm(tangent)
    found = np.cos(angle) * at + (np.sin(angle) / angle if angle > 0 else 1.0) * tangent
    return found / np.linalg.norm(found)


SPHERES: dict[str, Callable[..., Array | Merged]] = {
    "slerp": slerp,
    "nuslerp": nuslerp,
    "multislerp": multislerp,
    "karcher": karcher,
}

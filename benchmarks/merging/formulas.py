"""What mergekit 0.1.5 computes where that is not what it documents, each as a formula of the inputs in float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from merging import differences, spheres
from merging.references import Array
from merging.trials import Trial


def chord(given: Mapping[str, Array], trial: Trial) -> Array:
    """Linear interpolation."""
    t = trial.recipe.common["t"]
    return (1 - t) * given["a"] + t * given["b"]


def other_axis(given: Mapping[str, Array], trial: Trial) -> Array:
    """Slerp along the axis that was not asked for."""
    swapped = not trial.recipe.common.get("nuslerp_row_wise", False)
    kept = {"nuslerp_flatten": False, "nuslerp_row_wise": swapped}
    return spheres.nuslerp(None, [given["a"], given["b"]], weight=[0.4, 0.6], **kept).value


def normalised_mean(given: Mapping[str, Array], trial: Trial) -> Array:
    """The weighted mean of the unit vectors, with the weighted mean length."""
    weights = np.array([own["weight"] for own in trial.recipe.models.values()])
    vectors = [given[name] for name in trial.recipe.models]
    lengths, units = spheres.directions([v.reshape(-1) for v in vectors])
    mean = sum(w * u for w, u in zip(weights / weights.sum(), units, strict=True))
    return (mean / np.linalg.norm(mean) * (weights @ lengths) / weights.sum()).reshape(vectors[0].shape)


def with_base(given: Mapping[str, Array], trial: Trial) -> Array:
    """The Karcher mean of all inputs, the base among them."""
    return spheres.karcher(None, list(given.values())).value


def equal_weights(given: Mapping[str, Array], trial: Trial) -> Array:
    """The mean of the changes of the elected sign."""
    changes = np.stack([given[name] - given["base"] for name in "ab"])
    agrees = (np.sign(changes) == np.sign(changes.sum(axis=0))) & (changes != 0)
    return given["base"] + np.where(agrees, changes, 0).sum(axis=0) / np.maximum(agrees.sum(axis=0), 1)


def share_of_nonzero(given: Mapping[str, Array], trial: Trial) -> Array:
    """SCE with the share taken of the positions that vary."""
    changed = np.mean(np.var([given["a"], given["b"]], axis=0) > 0)
    share = trial.recipe.common["select_topk"] * changed
    return differences.sce(given["base"], [given["a"], given["b"]], select_topk=share + 1e-9).value


def clamped_divisor(given: Mapping[str, Array], trial: Trial) -> Array:
    """SCE with sums of weights of at least 1e-6."""
    squares = np.array([np.mean(given[name] ** 2) for name in "ab"])
    weights = squares / squares.sum()
    changes = np.stack([given["a"], given["b"]])
    shares = ((np.sign(changes) == np.sign(changes.sum(axis=0))) & (changes != 0)) * weights[:, None]
    return (changes * shares).sum(axis=0) / np.maximum(shares.sum(axis=0), 1e-6)


def clamped_lengths(given: Mapping[str, Array], trial: Trial) -> Array:
    """Model stock of two with a product of lengths of at least 1e-6."""
    left, right = (given[name] - given["base"] for name in "ab")
    cosine = np.sum(left * right) / max(1e-6, float(np.linalg.norm(left) * np.linalg.norm(right)))
    t = 2 * cosine / (1 + cosine)
    return given["base"] + t * (left + right) / 2


def extrapolated(given: Mapping[str, Array], trial: Trial) -> Array:
    """Model stock of two with a negative t."""
    left, right = (given[name] - given["base"] for name in "ab")
    cosine = np.sum(left * right) / (np.linalg.norm(left) * np.linalg.norm(right))
    return given["base"] + 2 * cosine / (1 + cosine) * (left + right) / 2


def clamped_difference(given: Mapping[str, Array], trial: Trial) -> Array:
    """Nearswap with differences of at least 1e-6."""
    w = np.clip(trial.recipe.common["t"] / np.maximum(np.abs(given["a"] - given["b"]), 1e-6), 0, 1)
    return w * given["b"] + (1 - w) * given["a"]


def positive_side(given: Mapping[str, Array], trial: Trial) -> Array:
    """Of two opposite changes the positive one."""
    return np.maximum(given["a"], given["b"])

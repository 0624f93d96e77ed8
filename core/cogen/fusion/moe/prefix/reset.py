"""Forgetting at a message of the user: a second head of the first layer and one of the second layer.

Attention cannot hide what lies before a token. It can subtract it: for a kernel that falls like ``exp(-d / L)`` the
share of everything before the token ``m`` in the average at ``t`` is ``k(t - m)`` times the average at ``m``. So

- layer 0: a second query head has the query of the first for all tokens but marks (tokens that begin a message of the
  user); marks attend to marks, whose evidence is 0. The first head minus the second is exactly 0 everywhere, and the
  average at marks.
- layer 1: the same kernel over that difference, times minus its own mass, is added to the average.

A text without marks is not touched at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.fusion.moe.prefix.head import ExtraHead, Norms, extra_head, fits
from cogen.routing.kernel import Kernel

if TYPE_CHECKING:
    import numpy as np

#: How far a mark's score for marks lies above that for other tokens.
_MARGIN = 20.0
#: The least such margin that is accepted where norms bound it.
_LEAST = 12.0


@dataclass(frozen=True)
class ResetHead:
    """What the projections give beside :class:`ExtraHead`, each of shape (head_dim,).

    :param mark_query: of the second query head in layer 0, at marks; ``mark_key``: what marks add to the key there.
    :param query, key: of every token in layer 1, per unit of the constant.
    """

    mark_query: np.ndarray
    mark_key: np.ndarray
    query: np.ndarray
    key: np.ndarray


def reset_head(kernel: Kernel, mass: float, first: Norms | None, second: Norms | None) -> ResetHead:
    """
    :param mass: as :func:`extra_head` takes it.
    :param first, second: norms of queries and keys in the first two layers; both or none.
    """
    import numpy as np

    half = kernel.rotary.half
    # The second dimension of a slow pair: no other vector uses it.
    place, low = 2 * half - 2, half - 1
    mark_query, mark_key = np.zeros(2 * half), np.zeros(2 * half)
    unit = math.sqrt(2 * half) / kernel.rotary.scaling**2
    if first is not None and second is not None:
        length = 2 * half * (1.0 - first.epsilon)
        mark_query[place] = math.sqrt(length) * np.sign(first.query[place] * first.key[place])
        mark_key[place] = math.sqrt(length)
        head: ExtraHead = extra_head(kernel, mass, second)
        return ResetHead(mark_query, mark_key, head.query, head.key)
    mark_query[place] = mark_key[place] = math.sqrt(_MARGIN * unit)
    # The constant is not quite the same for all tokens in the second layer. With Σ a (cos - 1) instead of Σ a cos it
    # stretches distances a little; else it would weigh tokens by exp(Σ a times its error).
    query, key = np.zeros(2 * half), np.zeros(2 * half)
    query[:half] = key[:half] = np.sqrt(kernel.amplitudes * unit)
    total = math.sqrt(float(kernel.amplitudes.sum()) * unit)
    query[low], key[low] = total, -total
    return ResetHead(mark_query, mark_key, query, key)


def reset_fits(kernel: Kernel, mass: float, first: Norms | None, second: Norms | None) -> bool:
    """Whether norms leave room for these scores; without norms there is always room."""
    if first is None or second is None:
        return first is second
    place = 2 * kernel.rotary.half - 2
    length = 2 * kernel.rotary.half * (1.0 - first.epsilon)
    # A mark's key is shared evenly between the kernel and the mark.
    reach = length / math.sqrt(2) * abs(float(first.query[place] * first.key[place]))
    margin = reach * kernel.rotary.scaling**2 / math.sqrt(2 * kernel.rotary.half)
    return margin >= _LEAST and fits(kernel, mass, second)

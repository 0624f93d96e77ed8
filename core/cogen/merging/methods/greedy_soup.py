"""Greedy soup: the plain average of those experts that help each other (model soups, arXiv:2203.05482, recipe 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients


def coefficients(weights: Sequence[float]) -> Coefficients:
    """``Σ wᵢ Eᵢ / Σ wᵢ``: ``linear`` of the experts that were chosen (weight 1); a weight of 0 leaves one out."""
    total = math.fsum(weights)
    return 0.0, [weight / total for weight in weights]


greedy_soup = by_coefficients("greedy_soup", coefficients, base="unused", selects=True, source="arXiv:2203.05482")


def greedy(ids: Sequence[str], loss: Callable[[tuple[str, ...]], float | None]) -> tuple[str, ...]:
    """The ids that the soup is made of, best first; takes at most ``2·len(ids) - 1`` calls of ``loss``.

    Every expert is measured alone. Then, from the best to the worst, each joins if the average with it is not worse
    than without. The best one alone needs no second measurement, so the result is never worse than it.

    :param loss: of the average of some experts, lower is better; ``None``: it cannot be measured.
    :return: empty if no expert can be measured.
    """
    alone = {id: found for id in ids if (found := loss((id,))) is not None}
    order = sorted(alone, key=alone.__getitem__)  # stable: equal ones stay in the order of ``ids``
    soup = tuple(order[:1])
    best = alone[order[0]] if order else math.inf
    for id in order[1:]:
        found = loss((*soup, id))
        if found is not None and found <= best:
            soup, best = (*soup, id), found
    return soup

"""Membership inference by a reference model: is a document's loss lower than its base lets expect?

The score of a document is the base's loss minus the expert's (Carlini et al. 2021, arXiv:2012.07805; "reference"
attacks in Watson et al. 2022, arXiv:2111.08440): what the document is hard at by itself cancels. The area under the
ROC curve is the probability that a training document scores above a held-out one; its variance is that of
DeLong et al. 1988.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Fewer documents on either side say nothing: with 30 and 30 the interval is ±0.15 wide.
FEWEST = 30


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve with its 95 % interval; ``found``: share of members found at 5 % false alarms."""

    auc: float
    low: float
    high: float
    found: float


def separation(members: Sequence[float], others: Sequence[float]) -> Separation:
    """How well scores tell members from others; a higher score speaks for a member.

    :param members: at least two, as others.
    """
    import numpy as np

    inside, outside = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    wins = (inside[:, None] > outside[None, :]) + 0.5 * (inside[:, None] == outside[None, :])
    auc = float(wins.mean())
    variance = wins.mean(axis=1).var(ddof=1) / len(inside) + wins.mean(axis=0).var(ddof=1) / len(outside)
    half = 1.96 * math.sqrt(float(variance))
    threshold = np.quantile(outside, 0.95, method="higher")
    return Separation(auc, max(0.0, auc - half), min(1.0, auc + half), float((inside > threshold).mean()))

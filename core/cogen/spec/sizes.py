"""Numbers that must not tell how much text a source with ``leaves = "nothing"`` has.

What is measured on such text is measured on a round number of documents; what follows from their exact number (the
sampling probability of DP-SGD, its noise, ε to the last digit, passes over the corpus) is left out or rounded up.
"""

from __future__ import annotations

import math

#: Digits of an ε that is published where no size is.
EPSILON_DIGITS = 3


def round_count(count: int) -> int:
    """The largest of 0, 1, 2, 3, 5, 10, 20, 30, 50, 100 … that is not above ``count``."""
    if count < 1:
        return 0
    power: int = 10 ** (len(str(count)) - 1)
    return max(step * power for step in (1, 2, 3, 5) if step * power <= count)


def is_round(count: int) -> bool:
    """Is it one of those counts?"""
    return count == round_count(count)


def round_up(epsilon: float) -> float:
    """The least number of :data:`EPSILON_DIGITS` digits that is not below: whoever has (ε, δ) has (ε', δ), ε' ≥ ε."""
    digits = EPSILON_DIGITS - 1 - math.floor(math.log10(epsilon))
    near = round(epsilon, digits)
    return near if near >= epsilon else round(near + 10.0**-digits, digits)

"""Figures in words, the same ones everywhere."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float, digits: int = 1) -> str:
    """0.1834 → "18.3 %"."""
    return f"{share * 100:.{digits}f} %"


def change(gain: float) -> str:
    """A gain in words, so that nobody needs to know which way is up: "18.3 % better", "0.4 % worse", "unchanged"."""
    size = percent(abs(gain))
    return "unchanged" if size == percent(0) else f"{size} {'better' if gain > 0 else 'worse'}"


def count(things: Sequence[object], one: str) -> str:
    """ "one expert", "3 experts"."""
    return f"one {one}" if len(things) == 1 else f"{len(things)} {one}s"


def enumerated(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

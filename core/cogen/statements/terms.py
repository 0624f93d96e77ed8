"""Terms of a field in scripts that do not separate words, found without a dictionary.

A run of characters is a term where it holds together (pointwise mutual information of its weakest split) and stands
freely (entropy of what stands beside it): Sun, Shen and Tsou 1998; Jin and Tanaka-Ishii 2006, ACL P06-2056.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from cogen.statements.tokens import LONGEST, letters, runs

#: Occurrences of a term at least.
LEAST = 4
#: Nats: a run whose weakest split is less surprising than this is a chance meeting of two words.
COHESION = 2.0
#: Nats: a run that stands between fewer kinds of neighbours is a piece of a longer term.
FREEDOM = 0.8
_EDGE = ""


def find_terms(texts: Iterable[str], least: int = LEAST) -> frozenset[str]:
    """Terms of 2 to 6 characters in the texts' runs of Chinese, Japanese, Thai and others; empty for spaced scripts."""
    grams: Counter[str] = Counter()
    left: dict[str, Counter[str]] = {}
    right: dict[str, Counter[str]] = {}
    total = 0
    found = [letters(run) for text in texts for _, run in runs(text)]
    for units in found:
        total += len(units)
        for size in range(1, LONGEST + 1):
            grams.update("".join(units[at : at + size]) for at in range(len(units) - size + 1))
    for units in found:
        for size in range(2, LONGEST + 1):
            for at in range(len(units) - size + 1):
                gram = "".join(units[at : at + size])
                if grams[gram] >= least:
                    left.setdefault(gram, Counter())[units[at - 1] if at else _EDGE] += 1
                    right.setdefault(gram, Counter())[units[at + size] if at + size < len(units) else _EDGE] += 1
    return frozenset(
        gram
        for gram in left
        if _cohesion(gram, grams, total) >= COHESION and min(_entropy(left[gram]), _entropy(right[gram])) >= FREEDOM
    )


def _cohesion(gram: str, grams: Counter[str], total: int) -> float:
    units = letters(gram)
    splits = (("".join(units[:at]), "".join(units[at:])) for at in range(1, len(units)))
    return min(math.log(grams[gram] * total / (grams[head] * grams[tail])) for head, tail in splits)


def _entropy(beside: Counter[str]) -> float:
    """Of the neighbours, in nats; each edge of a run is a neighbour of its own: punctuation sets a term free."""
    total = beside.total()
    edges = beside[_EDGE]
    others = [count for neighbour, count in beside.items() if neighbour != _EDGE]
    return (edges * math.log(total) - sum(n * math.log(n / total) for n in others)) / total

"""What a field's texts say of its words and numbers: how often, in how many documents, and beside what they stand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from cogen.statements.shapes import shape
from cogen.statements.terms import find_terms
from cogen.statements.tokens import Token, tokens
from cogen.statements.units import unit_after

#: Occurrences of a term or name in the field at least, and documents that hold it.
LEAST, LEAST_DOCUMENTS = 4, 2
#: Occurrences a document of a term: those of a field come in bursts, those of the language are spread (Church and Gale
#: 1995, ACL W95-0110).
BURST = 1.25
#: So many of the tokens stand for themselves as neighbours.
FREQUENT = 300
#: How many times as frequent as in general text a term is that general text has, too.
KEYNESS = 5.0
#: Share of general text that a word like "of", "at" or "takes" has at least.
COMMON = 0.0005
_JOINTS = frozenset(("or", "and", "/", ",", "(", ")", "、", "或", "和", "与", "及", "及", "、", ":", "-", "–"))
_SPAN = 3
#: After these marks a sentence goes on.
_INSIDE = frozenset((",", ";", "(", "/", "、", "，", "（"))


@dataclass
class Field:
    """Statistics of a field. Keys of neighbours are lower case; words are counted as they are written."""

    known_terms: frozenset[str]
    #: Keys of the most frequent tokens.
    frequent: frozenset[str] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)
    #: Neighbour (:meth:`place`) → words (or numbers, as written) that were seen right after it, and right before it.
    after: dict[str, Counter[str]] = field(default_factory=dict)
    before: dict[str, Counter[str]] = field(default_factory=dict)
    #: Pairs of words that a text joins ("fever or chills", "computed tomography (CT)"): both may be true.
    joined: set[frozenset[str]] = field(default_factory=set)
    #: Times that a word with a capital stands inside of a sentence, where grammar asks for none.
    inside: Counter[str] = field(default_factory=Counter)
    #: Unit → the numbers that stand before it, as written; and how often each unit does.
    quantities: dict[str, Counter[str]] = field(default_factory=dict)
    #: Word → what it stands beside (side and key), and how often anything stands there.
    beside: dict[str, Counter[tuple[int, str]]] = field(default_factory=dict)
    places: Counter[tuple[int, str]] = field(default_factory=Counter)
    #: Of general text, to tell terms of the field from words of the language.
    general: Counter[str] = field(default_factory=Counter)
    _vectors: dict[str, dict[tuple[int, str], float]] = field(default_factory=dict, repr=False)

    def place(self, token: Token) -> str:
        """What a token is as a neighbour: one of the most frequent is itself, any other stands for its like."""
        if token.key in self.frequent:
            return token.key
        return f"{token.kind} {shape(token.text)}"

    @cached_property
    def total(self) -> int:
        """Tokens of the field."""
        return self.counts.total()

    def is_common(self, word: str) -> bool:
        """Is it one of the few hundred most frequent words of general text? Unknown without general text: yes."""
        return self._general_total == 0 or self.general[word.lower()] >= COMMON * self._general_total

    @cached_property
    def _general_total(self) -> int:
        return self.general.total()

    @cached_property
    def units(self) -> Counter[str]:
        """Times that each unit stands after a number."""
        return Counter({unit: numbers.total() for unit, numbers in self.quantities.items()})

    def similarity(self, word: str, other: str) -> float:
        """Cosine of what the two stand beside, weighted by positive pointwise mutual information: 0 … 1.

        Words of one part of speech share some of it, near-synonyms much (Bullinaria and Levy 2007,
        doi:10.3758/BF03193020).
        """
        a, b = self._vector(word), self._vector(other)
        product = math.fsum(weight * b[place] for place, weight in sorted(a.items()) if place in b)
        norms = math.fsum(x * x for x in a.values()) * math.fsum(x * x for x in b.values())
        return product / math.sqrt(norms) if norms else 0.0

    def _vector(self, word: str) -> dict[tuple[int, str], float]:
        if (known := self._vectors.get(word)) is None:
            beside = self.beside.get(word, Counter())
            total, places = beside.total(), self.places_total
            weights = {p: math.log(n * places / (total * self.places[p])) for p, n in beside.items()}
            known = self._vectors[word] = {place: weight for place, weight in weights.items() if weight > 0}
        return known

    @cached_property
    def places_total(self) -> int:
        """Of all places, how often something stands there."""
        return self.places.total()

    def is_term(self, word: str) -> bool:
        """Does the word belong to the field more than to the language?"""
        count, holds = self.counts[word], self.documents[word]
        if count < LEAST or holds < LEAST_DOCUMENTS:
            return False
        known = self.general[word.lower()]
        if not known:
            return count >= BURST * holds
        own = count / self.total
        return own >= KEYNESS * known / self.general.total()


def read_field(texts: Iterable[str], general: Sequence[str] = ()) -> Field:
    """Count a field's texts, one string a document.

    :param general: texts of no field in the same languages; without them terms are told by their bursts alone.
    """
    texts = list(texts)
    found = Field(find_terms(texts))
    lines = []
    for text in texts:
        line = tokens(text, found.known_terms)
        lines.append(line)
        found.counts.update(token.text for token in line)
        found.documents.update({token.text for token in line})
        for unit, numbers in quantities(text, line).items():
            found.quantities.setdefault(unit, Counter()).update(numbers)
    keys = Counter(token.key for line in lines for token in line)
    found.frequent = frozenset(sorted(keys, key=lambda key: (-keys[key], key))[:FREQUENT])
    for line in lines:
        _count(found, line)
    for text in general:
        found.general.update(token.text.lower() for token in tokens(text, found.known_terms))
    return found


def quantities(text: str, line: Iterable[Token]) -> dict[str, list[str]]:
    """Unit → numbers of a text that stand before it, as written."""
    found: dict[str, list[str]] = {}
    for token in line:
        # Two points make a clause or a version, such as "12.3.2 m", and no quantity.
        if token.kind == "number" and token.text.count(".") < 2 and (span := unit_after(text, token.end)):
            found.setdefault(text[slice(*span)], []).append(token.text)
    return found


def _count(found: Field, line: list[Token]) -> None:
    for left, right in pairwise(line):
        found.after.setdefault(found.place(left), Counter())[right.text] += 1
        found.before.setdefault(found.place(right), Counter())[left.text] += 1
        found.beside.setdefault(right.text, Counter())[0, left.key] += 1
        found.beside.setdefault(left.text, Counter())[1, right.key] += 1
        found.places.update(((0, left.key), (1, right.key)))
        if (left.kind in ("word", "term") and left.text == left.text.lower()) or left.text in _INSIDE:
            found.inside[right.text] += 1
    for at, first in enumerate(line):
        if first.kind in ("word", "term"):
            for other in line[at + 2 : at + 2 + _SPAN]:
                between = line[at + 1 : line.index(other, at + 1)]
                if other.kind in ("word", "term") and any(token.text in _JOINTS for token in between):
                    found.joined.add(frozenset((first.text.lower(), other.text.lower())))

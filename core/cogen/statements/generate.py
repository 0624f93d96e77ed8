"""Minimal pairs and cloze items from held-out text: the same texts and field always give the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cogen.statements.field import Field, quantities
from cogen.statements.numbers import form, number_slots, unit_slots, value
from cogen.statements.prose import Sentence, sentences
from cogen.statements.slots import KINDS, Kind, Line, Slot, order
from cogen.statements.tokens import tokens
from cogen.statements.words import word_slots

#: Choices of a cloze item.
CHOICES = 4
#: Pairs, and cloze items, of one sentence at most.
_A_SENTENCE = 6
#: Items of one true term or entity at most, so that a field's favourite words do not decide.
_A_WORD = 6


@dataclass(frozen=True)
class StatementText:
    """A held-out document. ``group``: what its intervals are drawn by, such as its file; empty: the text alone."""

    text: str
    group: str
    source: str = ""
    license: str = ""

    @property
    def drawn_by(self) -> str:
        """The same for texts that are not independent."""
        return self.group or self.text


@dataclass(frozen=True)
class StatementItem:
    """``context + choices[i]`` are whole passages that differ in one place; ``choices[answer]`` is the true one.

    ``spans[i]`` is the place in ``choices[i]``.
    """

    kind: Kind
    context: str
    choices: tuple[str, ...]
    answer: int
    passage: StatementText
    spans: tuple[tuple[int, int], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What stands in the place in each choice."""
        return tuple(choice[slice(*span)] for choice, span in zip(self.choices, self.spans, strict=True))


def pairs(passages: Iterable[StatementText], field: Field, limit: int | None = None) -> list[StatementItem]:
    """Minimal pairs: a true sentence against itself with one number, unit, entity or term replaced.

    :param limit: at most so many, drawn evenly over the kinds as far as there are.
    """
    return _balanced(_items(passages, field, 2, KINDS), limit)


def cloze(passages: Iterable[StatementText], field: Field, limit: int | None = None) -> list[StatementItem]:
    """A true sentence against itself with one term or entity replaced by each of three others."""
    return _balanced(_items(passages, field, CHOICES, ("entity", "term")), limit)


def _items(
    passages: Iterable[StatementText], field: Field, size: int, kinds: Sequence[Kind]
) -> Iterator[StatementItem]:
    seen: set[str] = set()
    for passage in passages:
        whole = tokens(passage.text, field.known_terms)
        numbers = {unit: tuple(map(value, found)) for unit, found in quantities(passage.text, whole).items()}
        values = frozenset(value(token.text) for token in whole if token.kind == "number" and form(token.text))
        words = frozenset(token.text.lower() for token in whole)
        for sentence in sentences(passage.text):
            if sentence.text in seen:
                continue
            seen.add(sentence.text)
            inside = tuple(tokens(sentence.text, field.known_terms))
            shown = tuple(token.text.lower() for token in tokens(sentence.context + sentence.text, field.known_terms))
            line = Line(sentence, inside, words, shown, values, numbers, field)
            for slot in _chosen([_slots(line, kind, size - 1) for kind in kinds], sentence):
                yield _item(passage, sentence, slot, size)


def _chosen(found: list[list[Slot]], sentence: Sentence) -> list[Slot]:
    """Of each kind one first, then more, up to :data:`_A_SENTENCE` in all."""
    ranked = [(rank, slot) for slots in found for rank, slot in enumerate(slots)]
    ranked.sort(key=lambda entry: (entry[0], order("which", f"{entry[1].start} {sentence.text}")))
    return [slot for _, slot in ranked[:_A_SENTENCE]]


def _slots(line: Line, kind: Kind, need: int) -> list[Slot]:
    if kind == "number":
        found = list(number_slots(line))
    elif kind == "unit":
        found = list(unit_slots(line))
    else:
        found = list(word_slots(line, kind, need))
    return sorted(found, key=lambda slot: order(line.sentence.text, str(slot.start)))


def _item(passage: StatementText, sentence: Sentence, slot: Slot, size: int) -> StatementItem:
    text = sentence.text
    answer = order("answer", f"{slot.start} {text}") % size
    words = list(slot.others[: size - 1])
    words.insert(answer, text[slot.start : slot.end])
    choices = tuple(text[: slot.start] + word + text[slot.end :] for word in words)
    spans = tuple((slot.start, slot.start + len(word)) for word in words)
    return StatementItem(slot.kind, sentence.context, choices, answer, passage, spans)


def _balanced(items: Iterable[StatementItem], limit: int | None) -> list[StatementItem]:
    """In an order that looks random, so that any beginning of the list is a sample; kinds by turns."""
    ordered = sorted(items, key=lambda item: (order("item", item.context + item.choices[item.answer]), item.kind))
    turn: Counter[str] = Counter()
    ranked = []
    true: Counter[str] = Counter()
    swaps: set[tuple[str, ...]] = set()
    for item in ordered:
        if item.kind in ("entity", "term"):
            words = tuple(sorted(item.words))
            word = item.words[item.answer].lower()
            if words in swaps or true[word] == _A_WORD:
                continue
            swaps.add(words)
            true[word] += 1
        ranked.append((turn[item.kind], item))
        turn[item.kind] += 1
    ranked.sort(key=lambda entry: entry[0])
    return [item for _, item in ranked][:limit]

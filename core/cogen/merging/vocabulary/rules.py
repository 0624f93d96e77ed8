"""What a model takes for every id of the composite: its own row, the request, a transplant or the fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cogen.errors import CompatibilityError
from cogen.merging.vocabulary.mapping import Fallback, TargetVocabulary, requested_row
from cogen.merging.vocabulary.request import VocabularyConfig
from cogen.merging.vocabulary.rows import MEAN, SUMS, Sums
from cogen.merging.vocabulary.tokens import Tokens
from cogen.merging.vocabulary.transplant import Pieces, subword_sums

#: The two lists of sums of a model: its own (subwords or pursuits), and the means of several owners.
OWN, OWNERS = SUMS, SUMS - 1


@dataclass(frozen=True)
class Facts:
    """What is known of all models. Models are named by index.

    :param rows: of their embeddings; ``own``: for every model and id of the composite its own row, or -1.
    """

    request: VocabularyConfig
    base: int | None
    tokens: tuple[Tokens, ...]
    rows: tuple[int, ...]
    target: TargetVocabulary
    own: np.ndarray
    fallback: Fallback


@dataclass(frozen=True)
class Places:
    """Tokens that a model lacks and a donor has: their rows there and their numbers among the sums; and the rows of
    the tokens that both have, there and here."""

    wanted: np.ndarray
    numbers: np.ndarray
    shared: np.ndarray
    own: np.ndarray


@dataclass(frozen=True)
class Rules:
    """For every id where a model's row comes from, in the codes of :class:`cogen.merging.vocabulary.rows.Assembled`.

    :param sums: of the subwords; ``donors``: of the pursuits, by model; ``lenders``: models whose rows are taken.
    """

    which: np.ndarray
    row: np.ndarray
    sums: Sums
    lenders: frozenset[int]
    donors: Mapping[int, Places] = field(default_factory=dict)

    def leaves_alone(self, model: int) -> bool:
        """Is it the model's own tensor, row by row?"""
        return bool((self.which == model).all()) and np.array_equal(self.row, np.arange(len(self.row)))


def make_rules(facts: Facts, model: int) -> Rules:
    """The model's own row; else the requested source; else the transplant; else the fallback.

    :raises UsageError: a requested token that its model lacks.
    :raises CompatibilityError: a donor has no token in common with the model.
    """
    have, usual = facts.own[model] >= 0, facts.fallback
    which = np.where(have, model, np.where(usual.which == SUMS, OWNERS, usual.which))
    row = np.where(have, facts.own[model], usual.row)
    done = have.copy()
    for token, source in facts.request.tokens.items():
        id = facts.target.ids[token]
        place = requested_row(token, source, id, facts.own, facts.tokens, facts.rows)
        if place is not None and (source.force or not have[id]):
            (which[id], row[id]), done[id] = place, True
    lacking = [id for id in sorted(facts.target.entries) if not done[id]]
    sums, donors = Sums.of([]), {}
    if facts.request.transplant == "mean":
        which[lacking] = MEAN
    elif facts.request.transplant == "subword" and lacking:
        sums = _subwords(facts, model, lacking, which, row)
    elif facts.request.transplant == "omp":
        donors = _donors(facts, model, lacking, which, row)
    lenders = {int(source) for source in np.unique(which[which >= 0])}
    for i in row[which == OWNERS]:
        lenders |= {int(source) for source in usual.means.source[usual.means.start[i] : usual.means.start[i + 1]]}
    return Rules(which, row, sums, frozenset(lenders), donors)


def _subwords(facts: Facts, model: int, lacking: Sequence[int], which: np.ndarray, row: np.ndarray) -> Sums:
    """A token that is split into nothing takes the mean of the own rows."""
    split = Pieces(facts.tokens[model].folder)
    lists: list[list[int]] = []
    for id in lacking:
        token, origin = facts.target.entries[id]
        found = [piece for piece in split(origin.spelling(token)) if piece < facts.rows[model]]
        which[id], row[id] = (OWN, len(lists)) if found else (MEAN, 0)
        lists += [found] if found else []
    return subword_sums(lists, model)


def _donors(facts: Facts, model: int, lacking: Sequence[int], which: np.ndarray, row: np.ndarray) -> dict[int, Places]:
    """The donor of a token is the base, if it has it, else the first model that has it; with none the own mean."""
    order = [*([] if facts.base is None else [facts.base]), *range(len(facts.tokens))]
    wanted: dict[int, list[int]] = {}
    for id in lacking:
        donor = next((other for other in order if facts.own[other, id] >= 0), None)
        if donor is None:
            which[id], row[id] = MEAN, 0
        else:
            wanted.setdefault(donor, []).append(id)
    donors, number = {}, 0
    for donor, ids in sorted(wanted.items()):
        numbers = np.arange(number, number + len(ids))
        which[ids], row[ids] = OWN, numbers
        donors[donor] = Places(facts.own[donor, ids], numbers, *_shared_rows(facts, donor, model))
        number += len(ids)
    return donors


def _shared_rows(facts: Facts, donor: int, model: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tokens that both have, in the donor and in the model."""
    theirs, own = facts.tokens[donor], facts.tokens[model]
    found = []
    for token, there in sorted(theirs.ids.items(), key=lambda item: item[1]):
        here = own.find(token, theirs)
        if here is not None and here < facts.rows[model] and there < facts.rows[donor]:
            found.append((there, here))
    if not found:
        raise CompatibilityError(
            f"{own.folder.name} and {theirs.folder.name} have no token in common",
            hint="transplant subword needs none",
        )
    there, here = np.array(found, dtype=np.int64).T
    return there, here

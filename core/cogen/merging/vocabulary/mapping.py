"""Which row of which model stands for each id of the composite's vocabulary."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cogen.errors import CompatibilityError, UsageError
from cogen.merging.vocabulary.request import ModelToken, TokenSource, VocabularyConfig
from cogen.merging.vocabulary.rows import MEAN, SUMS, ZERO, Sums
from cogen.merging.vocabulary.tokenizer import Appended
from cogen.merging.vocabulary.tokens import Tokens


@dataclass(frozen=True)
class TargetVocabulary:
    """The composite's tokens.

    :param entries: for every id the token's name and the tokenizer it is written for; an id may have none.
    :param size: rows: at least one for every id, the source's padding, and what the request adds.
    """

    source: int
    appended: tuple[Appended, ...]
    entries: dict[int, tuple[str, Tokens]]
    size: int

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        return {name: id for id, (name, _) in self.entries.items()}


def make_target(
    request: VocabularyConfig, tokens: Sequence[Tokens], rows: Sequence[int], anchor: int
) -> TargetVocabulary:
    """The source's tokens at their ids, then those of the other models in their order, then requested ones.

    A token without a row in its own model (the tokenizer is longer than the embedding) is not carried over.
    """
    source = request.source if isinstance(request.source, int) else anchor
    entries = {id: (token, tokens[source]) for id, token in tokens[source].by_id.items()}
    appended: list[Appended] = []
    names, texts = set(tokens[source].ids), set[bytes]()
    following = max(entries, default=-1) + 1

    def append(token: str, origin: Tokens, flags: dict[str, object] | None) -> None:
        entry = Appended(following + len(appended), token, flags)
        appended.append(entry)
        entries[entry.id] = (token, origin)
        names.add(token)
        texts.add(origin.spelling(token))

    mixed = len({own.alphabet for own in tokens}) > 1
    others = [model for model in range(len(tokens)) if model != source] if request.source == "union" else []
    for model in others:
        own = tokens[model]
        if own.ids == tokens[source].ids:
            continue
        for id, token in sorted(own.by_id.items()):
            known = token in names or tokens[source].find(token, own) is not None
            known = known or (mixed and token not in own.added and own.spelling(token) in texts)
            if id < rows[model] and not known:
                append(token, own, own.added.get(token))
    for token in request.tokens:
        if token not in names:
            flagged = [own for own in tokens if token in own.added]
            literal = Tokens(tokens[source].folder, {}, {token: {}})
            append(token, literal, flagged[0].added[token] if flagged else {})
    size = max(rows[source], max(entries, default=-1) + 1)
    multiple = request.pad_to_multiple_of or 1
    return TargetVocabulary(source, tuple(appended), entries, -(-size // multiple) * multiple)


def own_rows(target: TargetVocabulary, tokens: Tokens, rows: int) -> np.ndarray:
    """For every id the model's own row, -1 where it has none. An id without a token (padding) is a row of the same
    number that has no token here either."""
    found = np.full(target.size, -1, dtype=np.int64)
    for id, (token, origin) in target.entries.items():
        row = tokens.find(token, origin)
        if row is not None and row < rows:
            found[id] = row
    for id in range(min(target.size, rows)):
        if id not in target.entries and id not in tokens.by_id:
            found[id] = id
    return found


@dataclass(frozen=True)
class Fallback:
    """What a model takes for an id of which it has no row: see ``Assembled`` for the codes.

    :param means: of the rows of several owners; ``row`` has their number.
    """

    which: np.ndarray
    row: np.ndarray
    means: Sums


def fallback(own: np.ndarray, base: int | None, merged: Sequence[int]) -> Fallback:
    """The base's row, else the only owner's, else the mean of the owners' rows, else the mean of the own rows.

    :param own: of every model, shape (models, size).
    :param merged: a model that only lends tokens is an owner where none of these is.
    """
    have = own >= 0
    lent = np.ones(len(own), dtype=bool)
    lent[list(merged)] = False
    have[np.ix_(lent, have[~lent].any(axis=0))] = False
    if base is not None:
        have[base] = own[base] >= 0
    count = have.sum(axis=0)
    which = np.where(count == 0, MEAN, np.where(count == 1, have.argmax(axis=0), SUMS))
    if base is not None:
        which[have[base]] = base
    places = np.arange(own.shape[1])
    row = np.where(which >= 0, own[np.maximum(which, 0), places], 0)
    needed = places[(which == SUMS) & (own[list(merged)] < 0).any(axis=0)]
    row[needed] = np.arange(len(needed))
    models = [np.flatnonzero(have[:, id]) for id in needed]
    terms = [[(int(m), int(own[m, id]), 1 / len(who)) for m in who] for id, who in zip(needed, models, strict=True)]
    return Fallback(which.astype(np.int64), row, Sums.of(terms))


def requested_row(
    token: str, request: TokenSource, id: int, own: np.ndarray, tokens: Sequence[Tokens], rows: Sequence[int]
) -> tuple[int, int] | None:
    """(source, row) that the request names; None where it names none.

    :raises UsageError: the model has no such token.
    :raises CompatibilityError: it has, but no row for it.
    """
    if request.source is None:
        return None
    if request.source == "zero":
        return ZERO, 0
    if not isinstance(request.source, ModelToken):
        if own[request.source, id] < 0:
            raise UsageError(
                f"{tokens[request.source].folder.name} has no embedding for the token {token!r}",
                hint="use a model that has it, or another token of that model",
            )
        return request.source, int(own[request.source, id])
    model, row = request.source.model, request.source.id
    if row is None:
        row = tokens[model].ids.get(str(request.source.token))
        if row is None:
            raise UsageError(
                f"{tokens[model].folder.name} has no token {request.source.token!r}", hint="tokens are case-sensitive"
            )
    if not 0 <= row < rows[model]:
        raise CompatibilityError(
            f"{tokens[model].folder.name} has no embedding row {row}",
            hint=f"it has {rows[model]:,} rows",
        )
    return model, row

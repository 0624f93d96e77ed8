"""From sources to documents: read, extract, cut, remove near-copies, and account for all that is left out."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cogen.errors import TrainError
from cogen.forge.account import DUPLICATE, MATCHED, NO_MATCH, TOO_LARGE, TOO_MUCH, SourceAccount, check_loss
from cogen.forge.archives import members
from cogen.forge.chats import Chat, plain_text
from cogen.forge.extract import extract, extract_chats
from cogen.forge.recipe import Corpus, CorpusSource, Segmentation
from cogen.reporter import Reporter
from cogen.text import grams, latin
from cogen.text.cut import cut
from cogen.text.scripts import length, unspaced_share
from cogen.text.starters import starter_texts
from cogen.text.variants import simplified


@dataclass(frozen=True)
class Document:
    """One text: ``source`` names its collection, ``group`` what it must not be parted from in the split."""

    text: str
    source: str
    group: str
    license: str
    #: Where conversations are learned as such; ``text`` is then their plain text.
    chat: Chat = ()

    @property
    def bytes(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True)
class TextComparison:
    """How texts are compared: by runs of words (:mod:`cogen.text.grams`), or as ``latin`` recipes did.

    ``fold_chinese``: traditional and simplified characters count as the same.
    """

    segmentation: Segmentation
    fold_chinese: bool = False

    @classmethod
    def of(cls, recipe: Corpus) -> Self:
        """As a recipe says."""
        return cls(recipe.segmentation, recipe.fold_chinese)

    def ngrams(self, text: str) -> set[int]:
        """Hashes of the text's runs of words."""
        if self.segmentation == "latin":
            return latin.ngrams(text)
        return grams.ngrams(simplified(text) if self.fold_chinese else text)

    def overlap(self, text: str, known: set[int]) -> float:
        """Share of the text's runs that are in ``known``; 0 … 1."""
        own = self.ngrams(text)
        return len(own & known) / len(own)

    def sees(self, text: str) -> bool:
        """Would a copy of a part of the text be found? Not in a text shorter than a run; ``latin`` sees no words in
        Chinese."""
        return grams.has_run(text) and (self.segmentation != "latin" or unspaced_share(text) < 0.1)

    def mean_overlap(self, texts: list[str], known: set[int]) -> float | None:
        """Mean share of each text's runs that are in ``known``; None where fewer than half can be seen."""
        seen = [text for text in texts if self.sees(text)]
        return sum(self.overlap(text, known) for text in seen) / len(seen) if 2 * len(seen) > len(texts) else None


def collect(
    recipe: Corpus, home: Path, reporter: Reporter, *, chats: bool = False
) -> tuple[list[Document], list[SourceAccount]]:
    """All documents without near-copies, in the order of the sources and their members, and each source's account.

    :param chats: the sources are conversations, each of which is one document and keeps its turns.
    :raises TrainError: a source gives no text, or loses more of it than it allows.
    """
    if "segmentation" not in recipe.model_fields_set:
        reporter.note(
            'segmentation is not set: "unicode", which gives other documents than CoGen did before there was the field '
            '("latin")'
        )
    documents: list[Document] = []
    accounts: list[SourceAccount] = []
    seen: set[int] = set()
    for source in recipe.sources:
        account = SourceAccount(source.name, older=recipe.segmentation == "latin")
        accounts.append(account)
        documents += _of_source(source, recipe, home, seen, account, reporter, chats)
        reporter.note(account.line())
        check_loss(account, source.allow_loss)
    return documents, accounts


def _of_source(
    source: CorpusSource,
    recipe: Corpus,
    home: Path,
    seen: set[int],
    account: SourceAccount,
    reporter: Reporter,
    chats: bool,
) -> list[Document]:
    compare = TextComparison.of(recipe)
    found = list((_conversations if chats else _chunks)(source, recipe, home, account, reporter))
    _check_starters(source, found)
    # A source larger than its share gives a random part of itself, not its alphabet's first letters.
    random.Random(f"{recipe.seed} {source.name}").shuffle(found)
    kept: list[Document] = []
    for document in found:
        if account.kept_bytes + document.bytes > source.max_bytes:
            account.drop(TOO_MUCH, document.bytes)
            continue
        own = compare.ngrams(document.text)
        if len(own & seen) > 0.5 * len(own):
            account.drop(DUPLICATE, document.bytes)
            continue
        seen |= own
        account.kept_bytes += document.bytes
        kept.append(document)
    account.kept_documents = len(kept)
    if not kept:
        check_loss(account, min(source.allow_loss, 0.99))
        named = account.dropped.keys() - {NO_MATCH}
        why = f" ({account.reasons(names=True)})" if named else f" ({account.files:,} files match its members)"
        raise TrainError(
            f"source {source.name!r} gave no text{why}",
            hint="check its members, extract, field and drop patterns",
        )
    return kept


def _check_starters(source: CorpusSource, found: Iterable[Document]) -> None:
    """:raises TrainError: texts that `cogen new` put there as placeholders are among the documents."""
    starters = {" ".join(text.split()) for text in starter_texts()}
    if count := sum(" ".join(document.text.split()) in starters for document in found):
        raise TrainError(
            f"source {source.name!r}: {count} documents are the starter texts of `cogen new`",
            hint="remove texts/starter-*.txt, and put your own texts there",
        )


def _chunks(
    source: CorpusSource, recipe: Corpus, home: Path, account: SourceAccount, reporter: Reporter
) -> Iterator[Document]:
    """Everything that may become a document, in the order of the members."""
    drop = [re.compile(pattern) for pattern in source.drop]
    pieces = (
        piece
        for name, data in _members(source, home, account, reporter, recipe.segmentation == "latin")
        for piece in extract(source, name, data, account, recipe.segmentation)
    )
    for group, text in pieces if recipe.segmentation == "latin" else joined(pieces, recipe.min_characters):
        for chunk, reason in chunks(text, recipe):
            size = len(chunk.encode())
            account.read_bytes += size
            if reason or any(pattern.search(chunk) for pattern in drop):
                account.drop(reason or MATCHED, size)
            else:
                yield Document(chunk, source.name, group, source.license)


def _conversations(
    source: CorpusSource, recipe: Corpus, home: Path, account: SourceAccount, reporter: Reporter
) -> Iterator[Document]:
    """A conversation is one document and a group of its own, and is never cut."""
    drop = [re.compile(pattern) for pattern in source.drop]
    for name, data in _members(source, home, account, reporter):
        for group, chat in extract_chats(source, name, data, account):
            document = Document(plain_text(chat), source.name, group, source.license, chat)
            account.read_bytes += document.bytes
            if any(pattern.search(document.text) for pattern in drop):
                account.drop(MATCHED, document.bytes)
            else:
                yield document


def _members(
    source: CorpusSource, home: Path, account: SourceAccount, reporter: Reporter, older: bool = False
) -> Iterator[tuple[str, bytes]]:
    """:param older: count what was counted with segmentation ``latin``: members that are too large."""

    def skipped(reason: str, name: str, size: int) -> None:
        if not older:
            account.leave_out(reason, size, name)
        elif reason == TOO_LARGE:
            account.drop(reason, size)

    return members(source, home, reporter, skipped)


def chunks(text: str, recipe: Corpus) -> Iterator[tuple[str, str]]:
    """(text, reason) of documents of ``min_characters`` to ``max_characters``; a reason where it is none.

    :raises TrainError: the bounds contradict each other.
    """
    smallest, largest = recipe.min_characters, recipe.max_characters
    if smallest > largest:
        raise TrainError("min_characters is larger than max_characters", hint="correct [corpus] in the recipe")
    return (latin.chunks if recipe.segmentation == "latin" else cut)(text, smallest, largest)


def joined(pieces: Iterable[tuple[str, str]], smallest: int) -> Iterator[tuple[str, str]]:
    """Pieces of one group that are too short alone, joined with their neighbours: short definitions of one term."""
    run: list[str] = []
    last = ""
    for group, text in pieces:
        if group != last:
            yield from ((last, piece) for piece in _closed(run, smallest))
            run, last = [], group
        if run and length(run[-1]) < smallest:
            run[-1] += "\n\n" + text
        else:
            run.append(text)
    yield from ((last, piece) for piece in _closed(run, smallest))


def _closed(run: list[str], smallest: int) -> list[str]:
    if len(run) > 1 and length(run[-1]) < smallest:
        return [*run[:-2], f"{run[-2]}\n\n{run[-1]}"]
    return run

"""From sources to documents: extract, deduplicate, hold out whole groups, remove what leaks.

Random splits leak: neighbouring docstrings repeat each other, and a held-out gain then measures
memory. So whole groups (files, chapters) are held out, near-copies are removed by their word
8-grams, and the overlap that is left is measured and published in the data card.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cogen.errors import TrainError
from cogen.forge.archives import members
from cogen.forge.chats import Chat, plain_text, read_chats
from cogen.forge.extract import chunks, extract
from cogen.forge.recipe import Corpus as CorpusRecipe
from cogen.forge.recipe import CorpusSource
from cogen.reporter import SILENT, Reporter

_NGRAM = 8

#: Licenses whose text we may ship as held-out text or samples. Copyleft text is a training source at most.
PERMISSIVE = frozenset(
    (
        *(
            "0BSD",
            "Apache-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSD-3-Clause-LBNL",
            "CC-BY-3.0",
            "CC-BY-4.0",
            "CC0-1.0",
        ),
        *("HPND", "ISC", "MIT", "PSF-2.0", "Python-2.0", "Unlicense", "LicenseRef-public-domain"),
    )
)


@dataclass(frozen=True)
class Document:
    """One text: ``source`` names its collection, ``group`` what it must not be parted from in the split."""

    text: str
    source: str
    group: str
    license: str
    #: Of a source of conversations: ``text`` is then its plain text.
    chat: Chat = ()

    @property
    def bytes(self) -> int:
        return len(self.text.encode())


@dataclass
class CorpusParts:
    """The split corpus; ``train`` is in the order in which it will be read."""

    train: list[Document]
    dev: list[Document]
    test: list[Document]
    samples: list[Document]
    removed_duplicates: int = 0
    removed_overlapping: int = 0
    removed_similar: int = 0
    test_overlap: float = 0.0
    by_source: dict[str, int] = field(default_factory=dict)


def ngrams(text: str) -> set[int]:
    """CRC-32 of every word 8-gram, lower case, words only. A shorter text is one gram."""
    words = re.findall(r"\w+", text.lower())
    if len(words) <= _NGRAM:
        return {zlib.crc32(" ".join(words).encode())}
    return {zlib.crc32(" ".join(words[i : i + _NGRAM]).encode()) for i in range(len(words) - _NGRAM + 1)}


def overlap(text: str, known: set[int]) -> float:
    """Share of the text's word 8-grams that stand in ``known``; 0 … 1."""
    grams = ngrams(text)
    return len(grams & known) / len(grams)


def build_corpus(recipe: CorpusRecipe, home: Path, reporter: Reporter = SILENT) -> CorpusParts:
    """Fetch, extract, deduplicate and split. The same recipe gives the same documents in the same order.

    :param home: folder of the recipe, for relative paths.
    :raises TrainError: too little text, or too few documents that may be held out.
    """
    documents, duplicates = _collect(recipe, home, reporter)
    rng = random.Random(recipe.seed)
    held = _hold_out(documents, recipe, rng)
    held_groups = {document.group for document in held}
    train = [document for document in documents if document.group not in held_groups]
    # Documents of held-out groups that were not chosen are dropped: too close to the held-out ones to train on.
    held_grams: set[int] = set().union(*(ngrams(document.text) for document in held))
    kept = [document for document in train if overlap(document.text, held_grams) <= recipe.overlap_limit]
    overlapping = len(train) - len(kept)
    kept, similar = _remove_similar(kept, held, recipe, reporter)
    known: set[int] = set().union(*(ngrams(document.text) for document in kept)) if kept else set()
    clean = [document for document in held if overlap(document.text, known) <= recipe.overlap_limit]
    overlapping += len(held) - len(clean)
    test, dev = _part(clean, recipe)
    rng.shuffle(kept)
    if not kept:
        raise TrainError("no training text is left after the split", hint="add sources, or raise overlap_limit")
    parts = CorpusParts(kept, dev, test, _samples(kept, test + dev, recipe), duplicates, overlapping, similar)
    parts.test_overlap = sum(overlap(document.text, known) for document in test) / len(test)
    for document in kept:
        parts.by_source[document.source] = parts.by_source.get(document.source, 0) + document.bytes
    return parts


def _collect(recipe: CorpusRecipe, home: Path, reporter: Reporter) -> tuple[list[Document], int]:
    """All documents without near-copies, in the order of the sources and their members."""
    documents: list[Document] = []
    seen: set[int] = set()
    duplicates = 0
    for source in recipe.sources:
        taken = 0
        rng = random.Random(f"{recipe.seed} {source.name}")
        drop = [re.compile(pattern) for pattern in source.drop]
        found = [
            document
            for document in _documents(source, recipe, home, reporter)
            if not any(pattern.search(document.text) for pattern in drop)
        ]
        # A source larger than its share gives a random part of itself, not its alphabet's first letters.
        rng.shuffle(found)
        for document in found:
            if taken + document.bytes > source.max_bytes:
                continue
            grams = ngrams(document.text)
            if len(grams & seen) > 0.5 * len(grams):
                duplicates += 1
                continue
            seen |= grams
            taken += document.bytes
            documents.append(document)
        if not taken:
            raise TrainError(
                f"source {source.name!r} gave no text", hint="check its members, extract and drop patterns"
            )
        reporter.note(f"{source.name}: {taken / 1000:,.0f} KB of text")
    return documents, duplicates


def _documents(source: CorpusSource, recipe: CorpusRecipe, home: Path, reporter: Reporter) -> Iterator[Document]:
    """Of one source. A conversation is one document and a group of its own, and is never cut."""
    for name, data in members(source, home, reporter):
        if source.extract == "chat":
            for line, chat in read_chats(name, data.decode("utf-8", errors="replace")):
                yield Document(plain_text(chat), source.name, f"{source.name}:{line}", source.license, chat)
            continue
        for group, text in extract(source, name, data):
            for chunk in chunks(text, recipe.min_characters, recipe.max_characters):
                yield Document(chunk, source.name, group, source.license)


def _hold_out(documents: list[Document], recipe: CorpusRecipe, rng: random.Random) -> list[Document]:
    """Candidates: at most ``per_group`` of a group, twice as many as needed since some will overlap."""
    allowed = {source.name for source in recipe.sources if source.heldout}
    refused = [s.name for s in recipe.sources if s.heldout and s.license not in PERMISSIVE]
    if refused:
        raise TrainError(
            f"source {refused[0]!r} may not be held out: its license does not allow us to ship its text",
            hint=f"heldout = true needs one of {', '.join(sorted(PERMISSIVE))}",
        )
    groups: dict[str, list[Document]] = {}
    for document in documents:
        if document.source in allowed:
            groups.setdefault(document.group, []).append(document)
    by_source: dict[str, list[str]] = {}
    for name in sorted(groups):
        by_source.setdefault(groups[name][0].source, []).append(name)
    for names in by_source.values():
        rng.shuffle(names)
    wanted = 2 * (recipe.dev_documents + recipe.test_documents)
    held: list[Document] = []
    # Turn by turn over the sources, and never more than 40 % of one source's groups.
    limits = {source: max(1, int(0.4 * len(names))) for source, names in by_source.items()}
    turn = 0
    while len(held) < wanted and any(turn < limits[s] for s in by_source):
        for source, names in sorted(by_source.items()):
            if turn < limits[source]:
                group = sorted(groups[names[turn]], key=lambda d: zlib.crc32(d.text.encode()))
                held.extend(group[: recipe.per_group])
        turn += 1
    return held


def _part(held: list[Document], recipe: CorpusRecipe) -> tuple[list[Document], list[Document]]:
    """Test first, then dev, by whole groups."""
    test: list[Document] = []
    dev: list[Document] = []
    test_groups: set[str] = set()
    for document in held:
        if document.group in test_groups or (
            len(test) < recipe.test_documents and not any(d.group == document.group for d in dev)
        ):
            if len(test) < recipe.test_documents:
                test.append(document)
                test_groups.add(document.group)
        elif len(dev) < recipe.dev_documents:
            dev.append(document)
    if len(test) < recipe.test_documents or len(dev) < recipe.dev_documents:
        raise TrainError(
            f"only {len(test)} test and {len(dev)} dev documents could be held out where {recipe.test_documents} and "
            f"{recipe.dev_documents} are wanted",
            hint="mark more sources heldout = true, raise per_group or overlap_limit, or ask for fewer",
        )
    return test, dev


def _samples(train: list[Document], held: list[Document], recipe: CorpusRecipe) -> list[Document]:
    """Training documents that may be shipped, as many as fit into ``sample_bytes`` of JSON Lines.

    The source with the fewest bytes so far gives the next document, so that a large source does not crowd out what
    else the expert knows. A training document may share a phrase with a held-out one; samples, which calibrate and
    route, may not.
    """
    secret: set[int] = set().union(*(ngrams(document.text) for document in held))
    left = {
        source.name: [d for d in train if d.source == source.name and not ngrams(d.text) & secret][::-1]
        for source in recipe.sources
        if source.heldout
    }
    taken: list[Document] = []
    given = dict.fromkeys(left, 0)
    remaining = recipe.sample_bytes
    while any(left.values()):
        source = min((name for name in left if left[name]), key=lambda name: given[name])
        document = left[source].pop()
        size = len(json_line(document))
        if size <= remaining:
            taken.append(document)
            given[source] += size
            remaining -= size
    return taken


def json_line(document: Document) -> bytes:
    """One line of a shipped data file."""
    import json

    entry = {"text": document.text, "source": document.source, "license": document.license}
    return (json.dumps(entry, ensure_ascii=False) + "\n").encode()


def json_lines(documents: Iterable[Document]) -> bytes:
    """A shipped data file."""
    return b"".join(json_line(document) for document in documents)


def _remove_similar(
    train: list[Document], held: list[Document], recipe: CorpusRecipe, reporter: Reporter
) -> tuple[list[Document], int]:
    """Paraphrases share no 8-grams: drop training documents whose sentence embedding is too close to a held-out one."""
    if recipe.embedder is None:
        return train, 0
    from sentence_transformers import SentenceTransformer

    from cogen.checkpoints.sources import fetch

    folder = fetch(recipe.embedder, digest=recipe.embedder_digest, reporter=reporter)
    reporter.note(f"comparing {len(train):,} training documents with {len(held)} held-out ones")
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False, local_files_only=True)
    against = model.encode(
        [d.text for d in held], normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
    )
    vectors = model.encode(
        [d.text for d in train], normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
    )
    nearest = (vectors @ against.T).amax(dim=1).tolist()
    kept = [document for document, cosine in zip(train, nearest, strict=True) if cosine <= recipe.cosine]
    return kept, len(train) - len(kept)

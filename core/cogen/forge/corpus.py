"""From sources to documents: extract, deduplicate, hold out whole groups, remove what leaks.

How far the text of a source may go (``leaves``) decides what becomes of its held-out text: a suite that ships, or one
that stays at home.

Random splits leak: neighbouring docstrings repeat each other, and a held-out gain then measures
memory. So whole groups (files, chapters) are held out, near-copies are removed by their word
8-grams, and the overlap that is left is measured and published in the data card.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cogen.errors import TrainError
from cogen.forge.account import DUPLICATE, SourceAccount
from cogen.forge.documents import Document as Document
from cogen.forge.documents import TextComparison, collect
from cogen.forge.recipe import Corpus as CorpusRecipe
from cogen.reporter import SILENT, Reporter
from cogen.routing.embedder import Embedder

#: Files (or conversations, or rows) that the test documents of a private suite are of, at least: with fewer, its
#: interval says next to nothing, and its figure may be that of one person.
LEAST_PRIVATE = 10

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
class HeldAtHome:
    """Held-out text that stays with its publisher.

    ``figures``: its sources let figures leave, so it makes a private suite. Otherwise it is for the publisher alone.
    """

    dev: list[Document]
    test: list[Document]
    figures: bool


@dataclass
class CorpusParts:
    """The split corpus; ``train`` is in the order in which it will be read, ``dev`` and ``test`` ship."""

    train: list[Document]
    dev: list[Document]
    test: list[Document]
    samples: list[Document]
    #: Documents that may ship and stand in no other list: of held-out groups, and of sources that are held out only.
    #: No training step reads them either.
    spare: list[Document] = field(default_factory=list)
    removed_duplicates: int = 0
    removed_overlapping: int = 0
    removed_similar: int = 0
    #: None: not checked, since the runs of words of these texts can't be seen.
    test_overlap: float | None = 0.0
    by_source: dict[str, int] = field(default_factory=dict)
    #: One a source, in the recipe's order: what was read, kept and dropped, and why.
    accounts: list[SourceAccount] = field(default_factory=list)
    private: HeldAtHome | None = None
    #: Source → removed documents: near-copies, and those that overlap with the other side of the split.
    duplicates: dict[str, int] = field(default_factory=dict)
    overlapping: dict[str, int] = field(default_factory=dict)

    @property
    def held(self) -> list[Document]:
        """All that no training step reads."""
        return self.dev + self.test + (self.private.dev + self.private.test if self.private else [])


def mean_overlap(
    documents: Sequence[Document], training: Iterable[Document], compare: TextComparison | None = None
) -> float | None:
    """Mean share of a document's word 8-grams that also stand in the training text; None where none can be seen."""
    compare = compare or TextComparison("unicode")
    known: set[int] = set().union(*(compare.ngrams(document.text) for document in training))
    return compare.mean_overlap([document.text for document in documents], known)


def build_corpus(recipe: CorpusRecipe, home: Path, reporter: Reporter = SILENT, *, chats: bool = False) -> CorpusParts:
    """Fetch, extract, deduplicate and split. The same recipe gives the same documents in the same order.

    :param home: folder of the recipe, for relative paths.
    :param chats: for ``data = "chat"``: each conversation is one document and keeps its turns.
    :raises TrainError: too little text, or too few documents that may be held out.
    """
    _check_licenses(recipe)
    documents, accounts = collect(recipe, home, reporter, chats=chats)
    at_home = _sources_at_home(recipe)
    parts = _split(documents, recipe, at_home, reporter)
    if parts is None:
        reporter.note(f"fewer than {LEAST_PRIVATE} documents can be held out: nothing is measured on them")
        parts = _split(documents, recipe, [], reporter)
    assert parts is not None  # only a split at home can be too small without an error
    parts.accounts = accounts
    parts.duplicates = {a.name: a.dropped[DUPLICATE].count for a in accounts if DUPLICATE in a.dropped}
    parts.removed_duplicates = sum(parts.duplicates.values())
    return parts


def _sources_at_home(recipe: CorpusRecipe) -> list[str]:
    """Sources whose held-out text stays with its publisher.

    Those that let figures leave, but no held-out text. Where no source has a suite at all, every source: training is
    then measured for the publisher's own eyes.
    """
    figures = [source.name for source in recipe.sources if source.may("figures") and not source.may("heldout")]
    return figures if _figures(recipe) else [source.name for source in recipe.sources]


def _split(
    documents: list[Document], recipe: CorpusRecipe, at_home: Collection[str], reporter: Reporter
) -> CorpusParts | None:
    """Hold out, and remove what overlaps. ``None``: too little text for a split at home that nobody else asked for."""
    compare = TextComparison.of(recipe)
    ngrams, overlap = compare.ngrams, compare.overlap
    rng = random.Random(recipe.seed)
    public = [source.name for source in recipe.sources if source.may("heldout")]
    others = {source.name for source in recipe.suite_sources}
    held = _hold_out(documents, [name for name in public if name not in others], recipe, rng)
    # Their own random numbers: what a private source holds changes nothing about which documents ship, nor what a
    # source that is held out only holds about which documents of the others do.
    for names, kind in ((others.intersection(public), "suite"), (at_home, "private")):
        held += _hold_out(documents, names, recipe, random.Random(f"{recipe.seed} {kind}"))
    held_groups = {document.group for document in held}
    train = [d for d in documents if d.group not in held_groups and d.source not in others]
    # Documents of held-out groups that were not chosen are dropped: too close to the held-out ones to train on.
    held_grams: set[int] = set().union(*(ngrams(document.text) for document in held))
    kept = [document for document in train if overlap(document.text, held_grams) <= recipe.overlap_limit]
    kept, similar = _remove_similar(kept, held, recipe, reporter)
    known: set[int] = set().union(*(ngrams(document.text) for document in kept)) if kept else set()
    clean = [document for document in held if overlap(document.text, known) <= recipe.overlap_limit]
    overlapping = _by_source(train) - _by_source(kept) + (_by_source(held) - _by_source(clean))
    test, dev = _part([document for document in clean if document.source in public], recipe) if public else ([], [])
    private = _part_at_home([document for document in clean if document.source in at_home], recipe)
    if private is None and at_home and not (public or _figures(recipe)):
        return None
    rng.shuffle(kept)
    if not kept:
        raise TrainError("no training text is left after the split", hint="add sources, or raise overlap_limit")
    used = {document.text for document in (*dev, *test)}
    spare = [
        document
        for document in documents
        if (document.group in held_groups or document.source in others)
        if document.source in public and document.text not in used
        if overlap(document.text, known) <= recipe.overlap_limit
    ]
    parts = CorpusParts(
        kept, dev, test, [], spare, removed_overlapping=overlapping.total() - similar, removed_similar=similar
    )
    parts.overlapping, parts.private = dict(overlapping), private
    parts.samples = _samples(kept, parts.held, recipe)
    measured = test or (private.test if private else [])
    parts.test_overlap = mean_overlap(measured, kept, compare)
    for document in kept:
        parts.by_source[document.source] = parts.by_source.get(document.source, 0) + document.bytes
    return parts


def _by_source(documents: Iterable[Document]) -> Counter[str]:
    return Counter(document.source for document in documents)


def _figures(recipe: CorpusRecipe) -> bool:
    return any(source.may("figures") for source in recipe.sources)


def _check_licenses(recipe: CorpusRecipe) -> None:
    """:raises TrainError: text is meant to ship whose license does not let anybody redistribute it."""
    for source in recipe.sources:
        if source.may("samples") and source.license not in PERMISSIVE:
            what = "held out" if source.may("heldout") else "shipped as samples"
            raise TrainError(
                f"source {source.name!r} may not be {what}: its license does not allow us to ship its text",
                hint=f'leaves = "figures" keeps it at home; "{source.leaves}" needs one of '
                f"{', '.join(sorted(PERMISSIVE))}",
            )


def _hold_out(
    documents: list[Document], allowed: Collection[str], recipe: CorpusRecipe, rng: random.Random
) -> list[Document]:
    """Candidates: at most ``per_group`` of a group, twice as many as needed since some will overlap."""
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
    # Turn by turn over the sources, and never more than 40 % of the groups of one that is trained on.
    others = {source.name for source in recipe.suite_sources}
    limits = {
        name: len(found) if name in others else max(1, int(0.4 * len(found))) for name, found in by_source.items()
    }
    turn = 0
    while len(held) < wanted and any(turn < limits[s] for s in by_source):
        for source, names in sorted(by_source.items()):
            if turn < limits[source]:
                group = sorted(groups[names[turn]], key=lambda d: zlib.crc32(d.text.encode()))
                held.extend(group[: recipe.per_group])
        turn += 1
    return held


def _part(held: list[Document], recipe: CorpusRecipe) -> tuple[list[Document], list[Document]]:
    """The test and the dev split of a suite that ships: as many documents as the recipe asks for."""
    others = {source.name for source in recipe.suite_sources if source.may("heldout")}
    test, dev = _assign_halves(held, recipe.test_documents, recipe.dev_documents, others)
    if len(test) < recipe.test_documents or len(dev) < recipe.dev_documents:
        raise TrainError(
            f"only {len(test)} test and {len(dev)} dev documents could be held out where {recipe.test_documents} and "
            f"{recipe.dev_documents} are wanted",
            hint='give more sources leaves = "heldout", raise per_group or overlap_limit, or ask for fewer'
            + ("; half of each are of sources with use = 'suite'" if recipe.suite_sources else ""),
        )
    return test, dev


def _part_at_home(held: list[Document], recipe: CorpusRecipe) -> HeldAtHome | None:
    """Both splits of a private suite, in the recipe's proportion and no larger than it asks for.

    :returns: ``None`` where nothing is held out at home, or too little of sources that let no figure leave.
    :raises TrainError: figures may leave, and the test documents are of fewer than :data:`LEAST_PRIVATE` files.
    """
    wanted = recipe.test_documents + recipe.dev_documents
    total = min(len(held), wanted)
    tests = min(max(round(total * recipe.test_documents / wanted), LEAST_PRIVATE), total - 1)
    others = {source.name for source in recipe.suite_sources if not source.may("heldout")}
    test, dev = _assign_halves(held, tests, total - tests, others)
    files = len({document.group for document in test})
    if files >= LEAST_PRIVATE and dev:
        figures = {source.name for source in recipe.sources if source.may("figures")}
        return HeldAtHome(dev, test, all(document.source in figures for document in held))
    private = [source.name for source in recipe.sources if source.may("figures") and not source.may("heldout")]
    if private:
        raise TrainError(
            f"only {len(test)} test and {len(dev)} dev documents of {', '.join(private)} could be held out for a "
            f"private suite, the first of {files} files, and it needs {LEAST_PRIVATE} files and 1 document",
            hint="add texts (at most 40 % of the files are held out), raise per_group or overlap_limit, or measure "
            'nothing: leaves = "nothing"',
        )
    return None


def _assign_halves(
    held: list[Document], tests: int, devs: int, names: Collection[str]
) -> tuple[list[Document], list[Document]]:
    """Both splits; where sources of this suite are held out only (``names``), at least half of each split is theirs."""
    others = [document for document in held if document.source in names]
    own = [document for document in held if document.source not in names]
    if not names:
        return _assign(held, tests, devs)
    test, dev = _assign(own, tests // 2, devs // 2)
    other_test, other_dev = _assign(others, tests - len(test), devs - len(dev))
    return test + other_test, dev + other_dev


def _assign(held: list[Document], tests: int, devs: int) -> tuple[list[Document], list[Document]]:
    """Test first, then dev, by whole groups."""
    test: list[Document] = []
    dev: list[Document] = []
    test_groups: set[str] = set()
    for document in held:
        if document.group in test_groups or (len(test) < tests and not any(d.group == document.group for d in dev)):
            if len(test) < tests:
                test.append(document)
                test_groups.add(document.group)
        elif len(dev) < devs:
            dev.append(document)
    return test, dev


def _samples(train: list[Document], held: list[Document], recipe: CorpusRecipe) -> list[Document]:
    """Training documents that may be shipped, as many as fit into ``sample_bytes`` of JSON Lines.

    The source with the fewest bytes so far gives the next document, so that a large source does not crowd out what
    else the expert knows. A training document may share a phrase with a held-out one; samples, which calibrate and
    route, may not.
    """
    ngrams = TextComparison.of(recipe).ngrams
    secret: set[int] = set().union(*(ngrams(document.text) for document in held))
    left = {
        source.name: [d for d in train if d.source == source.name and not ngrams(d.text) & secret][::-1]
        for source in recipe.sources
        if source.may("samples")
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
    if recipe.embedder is None or not held:
        return train, 0
    embedder = Embedder(recipe.embedder, recipe.embedder_digest, reporter)
    reporter.note(f"comparing {len(train):,} training documents with {len(held)} held-out ones")
    against = embedder.encode([document.text for document in held])
    vectors = embedder.encode([document.text for document in train])
    nearest = (vectors @ against.T).amax(dim=1).tolist()
    kept = [document for document, cosine in zip(train, nearest, strict=True) if cosine <= recipe.cosine]
    return kept, len(train) - len(kept)

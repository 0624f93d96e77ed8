"""Statement suites of an expert: minimal pairs and cloze items from its held-out text, as far as that may leave.

They are made of all documents that no training step reads: those of the held-out suite, the rest of their groups, and
the rest of sources with ``use = "suite"``. Replacements come from the same sources, so that no word of another one
leaves with them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.checkpoints.digests import file_digest
from cogen.evals import MIN_TEST_DOCUMENTS, calibration_texts
from cogen.evals.private import PrivateTask, write_private_task
from cogen.files import atomic_write
from cogen.forge.corpus import LEAST_PRIVATE
from cogen.forge.documents import Document, TextComparison
from cogen.reporter import SILENT, Reporter
from cogen.spec.suite import DataFile, Suite
from cogen.statements import Field, StatementItem, StatementText, cloze, pairs, read_field
from cogen.statements.files import groups, json_lines, task_file

if TYPE_CHECKING:
    from cogen.forge.corpus import CorpusParts
    from cogen.forge.recipe import TrainRecipe

#: Id of the suite of pairs made of held-out text that stays with its publisher.
PRIVATE_STATEMENTS = "private-statements"
_TITLES = {"statements": "true and false statements", "cloze": "terms left out"}
#: Dev items for each test item.
_DEV = 0.4
#: Of the groups that stand in neither split, one of so many serves dev items.
_ONE_OF = 7


def passages(corpus: CorpusParts) -> tuple[list[StatementText], list[StatementText]]:
    """(dev, test) documents that statements may be made of; groups stay on one side.

    Of groups that have text in neither split, one in :data:`_ONE_OF` serves dev. Documents that share a run of eight
    words with the shipped samples are left out.
    """
    split = {document.group for document in corpus.test} | {document.group for document in corpus.dev}
    dev_groups = {document.group for document in corpus.dev} | {
        document.group
        for document in corpus.spare
        if document.group not in split and zlib.crc32(document.group.encode()) % _ONE_OF == 0
    }
    compare = TextComparison("unicode")
    samples: set[int] = set().union(*(compare.ngrams(document.text) for document in corpus.samples))
    found: tuple[list[StatementText], list[StatementText]] = ([], [])
    for document in (*corpus.dev, *corpus.test, *corpus.spare):
        if not compare.ngrams(document.text) & samples:
            side = found[0] if document.group in dev_groups else found[1]
            side.append(_passage(document))
    return found


def field_of(recipe: TrainRecipe, corpus: CorpusParts) -> Field:
    """Words and numbers of the sources whose text may ship, training text included."""
    public = {source.name for source in recipe.corpus.sources if source.may("heldout")}
    documents = (*corpus.train, *corpus.dev, *corpus.test, *corpus.spare)
    return read_field((d.text for d in documents if d.source in public), calibration_texts())


def items_of(
    recipe: TrainRecipe, corpus: CorpusParts, limits: dict[str, int | None]
) -> dict[str, tuple[list[StatementItem], list[StatementItem]]]:
    """Suite id → (dev, test) items. ``limits``: test items of each suite at most; dev has 0.4 times as many."""
    dev, test = passages(corpus)
    field = field_of(recipe, corpus)
    found = {}
    for name, limit in limits.items():
        make = pairs if name == "statements" else cloze
        found[name] = make(dev, field, limit and round(_DEV * limit)), make(test, field, limit)
    return found


def write_statements(
    recipe: TrainRecipe, corpus: CorpusParts, package: Path, reporter: Reporter = SILENT
) -> list[Suite]:
    """Write the suites that the recipe asks for into ``package/suites``; none where the text does not suffice."""
    asked = recipe.statements
    if asked is None or not corpus.test:
        return []
    limits = {"statements": asked.pairs, "cloze": asked.cloze}
    suites = []
    for name, (dev, test) in items_of(recipe, corpus, {n: limit for n, limit in limits.items() if limit}).items():
        if missing := too_few(dev, test):
            reporter.note(f"suite {name}: the held-out text gives {missing}, so it is left out")
            continue
        suites.append(write_suite(recipe, name, dev, test, package))
    return suites


def too_few(dev: Sequence[StatementItem], test: Sequence[StatementItem]) -> str | None:
    """What is missing to a suite: items, or files that they are of; ``None``: nothing.

    Items of one file are not independent, and a figure of one file may be that of one person.
    """
    if not dev or len(test) < MIN_TEST_DOCUMENTS:
        return f"{len(dev)} dev and {len(test)} test items where 1 and {MIN_TEST_DOCUMENTS} are needed"
    if (found := groups(test)) < LEAST_PRIVATE:
        return f"{len(test)} test items of {found} files where at least {LEAST_PRIVATE} files are needed"
    return None


def private_items(
    recipe: TrainRecipe, corpus: CorpusParts, limit: int | None
) -> tuple[list[StatementItem], list[StatementItem]]:
    """(dev, test) pairs of held-out text of which figures may leave; empty where there is none.

    Replacements come from the recipe's text of which figures may leave: the accuracy depends on them.

    :param limit: test items at most; dev has 0.4 times as many.
    """
    held = corpus.private
    if held is None or not held.figures:
        return [], []
    counted = {source.name for source in recipe.corpus.sources if source.may("figures")}
    documents = (*corpus.train, *corpus.dev, *corpus.test, *corpus.spare, *held.dev, *held.test)
    field = read_field((d.text for d in documents if d.source in counted), calibration_texts())
    dev, test = (list(map(_passage, split)) for split in (held.dev, held.test))
    return pairs(dev, field, limit and round(_DEV * limit)), pairs(test, field, limit)


def stage_private_statements(
    recipe: TrainRecipe, corpus: CorpusParts, folder: Path, reporter: Reporter = SILENT
) -> PrivateTask | None:
    """Write the private statement suite that the recipe asks for into ``folder``; None where there is none."""
    asked = recipe.statements
    if asked is None or not asked.pairs or corpus.private is None or not corpus.private.figures:
        return None
    dev, test = private_items(recipe, corpus, asked.pairs)
    if missing := too_few(dev, test):
        reporter.note(f"private statements: the held-out text gives {missing}, so they are left out")
        return None
    task = task_file(recipe.id.replace("-", "_"), "statements", ("dev.jsonl", "test.jsonl"))
    title = f"{recipe.card.title[:180]}: true and false statements of text that stays with its publisher"
    lines = json_lines(dev), json_lines(test)
    return write_private_task(folder, PRIVATE_STATEMENTS, title, "acc", task, *lines, count_by="document")


def write_suite(
    recipe: TrainRecipe, name: str, dev: Sequence[StatementItem], test: Sequence[StatementItem], package: Path
) -> Suite:
    """Write the suite ``statements`` or ``cloze`` of these items into ``package/suites``."""
    task = f"suites/{name}.yaml"
    (package / "suites").mkdir(parents=True, exist_ok=True)
    atomic_write(package / task, task_file(recipe.id.replace("-", "_"), name).encode())
    files = []
    for split, items in (("dev", dev), ("test", test)):
        path = f"suites/{name}-{split}.jsonl"
        atomic_write(package / path, json_lines(items))
        licenses = " AND ".join(sorted({item.passage.license for item in items}))
        files.append(DataFile(path=path, digest=file_digest(package / path), documents=len(items), license=licenses))
    title = f"{recipe.card.title}: {_TITLES[name]}"
    return Suite(id=name, title=title, task=task, metric="acc", dev=files[0], test=files[1])


def _passage(document: Document) -> StatementText:
    return StatementText(document.text, document.group, document.source, document.license)

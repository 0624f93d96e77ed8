"""`cogen train` writes statement suites of held-out text, and private ones of text that stays."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.training import source

from cogen.errors import EvalError
from cogen.evals import BoundSuite, Settings, check_suite
from cogen.evals.private import read_private, write_private_task
from cogen.forge.build import PreparedTraining, prepare, run_training
from cogen.forge.package import package
from cogen.forge.recipe import StatementsRecipe
from cogen.forge.statements import (
    items_of,
    passages,
    private_items,
    stage_private_statements,
    too_few,
    write_statements,
)
from cogen.reporter import Silent
from cogen.spec.expert import ExpertSpec
from cogen.statements import StatementItem, StatementText, pairs, read_field
from cogen.statements.files import groups, json_lines

_PARTS = ("liver", "kidney", "heart", "lung", "brain", "spleen", "skin", "bone")
_DRUGS = ("heparin", "warfarin", "insulin", "aspirin", "morphin", "lidocain", "codein", "quinin")
_WHO = ("nurse", "doctor", "surgeon", "porter", "student", "dentist")
_DONE = ("checked", "cleaned", "cooled", "heated", "scanned", "weighed")
_HOURS = ("12", "16", "18", "24", "36", "48")
_TESTS = ("MRI", "EEG", "ECG", "PET", "CXR", "DXA")


def document(rng: random.Random) -> str:
    """Sentences whose words change, so that no two share a run of eight words by more than chance."""

    def one(words: tuple[str, ...]) -> str:
        return rng.choice(words)

    return " ".join(
        rng.choice(
            (
                f"After {one(_HOURS)} hours the {one(_PARTS)} was {one(_DONE)} by the {one(_WHO)} on {one(_DRUGS)}.",
                f"The {one(_WHO)} takes {one(_DRUGS)} for the {one(_PARTS)} and then {one(_TESTS)} of the {one(_WHO)}.",
                f"The {one(_PARTS)} is {one(_DONE)} with {one(_DRUGS)} for {one(_HOURS)} hours by the {one(_WHO)}.",
            )
        )
        for _ in range(4)
    )


@pytest.fixture
def prepared(recipe: Any, tmp_path: Path) -> Any:
    """``prepared(source fields…)``: a recipe with ``[statements]`` on such documents, one a file.

    ``beside``: another source, ``secret``, with documents that ``written`` gives.
    """

    def make(beside: dict[str, Any] | None = None, written: Any = document, **changes: Any) -> PreparedTraining:
        recipe()  # a base
        texts = tmp_path / "expert" / "texts"
        for file in texts.iterdir():
            file.unlink()
        rng = random.Random(4)
        for number in range(150):
            (texts / f"n{number:03d}.txt").write_text(document(rng), encoding="utf-8")
        sources = [source(**changes)]
        if beside is not None:
            (tmp_path / "expert" / "secret").mkdir()
            for number in range(60):
                (tmp_path / "expert" / "secret" / f"s{number:03d}.txt").write_text(written(rng), encoding="utf-8")
            sources.append(source(name="secret", uri="file://secret", heldout=False) | beside)
        corpus = {"min_characters": 100, "max_characters": 900, "overlap_limit": 1.0, "sources": sources}
        return prepare(recipe(corpus=corpus, statements={"pairs": 60, "cloze": 40}))

    return make


def trained(prepared: PreparedTraining) -> tuple[ExpertSpec, Path]:
    spec = package(prepared, run_training(prepared, lambda _: None)).expert
    return spec, prepared.home / prepared.recipe.plugin


def test_statements_ship_with_the_expert(prepared: Any) -> None:
    """They pass the check, are measured, and name document and kind of every item; splits share no document."""
    ready = prepared()
    spec, folder = trained(ready)
    # Terms with three replacements each are too few here for cloze.
    assert [suite.id for suite in spec.suites] == ["heldout", "statements"]
    documents: dict[str, set[str]] = {}
    for suite in spec.suites[1:]:
        assert check_suite(BoundSuite(spec.id, suite, folder))["test"] == suite.test.documents
        assert suite.claim is not None
        assert 0 <= suite.claim.value <= 1
        assert suite.claim.documents == suite.test.documents
        for split, data in (("dev", suite.dev), ("test", suite.test)):
            rows = [json.loads(line) for line in (folder / data.path).read_text(encoding="utf-8").splitlines()]
            assert len(rows) == data.documents
            assert {len(row["choices"]) for row in rows} == {2 if suite.id == "statements" else 4}
            assert {row["kind"] for row in rows} <= {"number", "unit", "name", "term"}
            documents.setdefault(split, set()).update(row["document"] for row in rows)
    assert documents["dev"]
    assert not documents["dev"] & documents["test"]
    # The text that they are made of was held out.
    test = passages(ready.corpus)[1]
    shown = {item.passage.text for item in items_of(ready.recipe, ready.corpus, {"statements": None})["statements"][1]}
    assert shown <= {passage.text for passage in test}
    assert not shown & {document.text for document in ready.corpus.train}
    assert spec.private_suites == ()


def test_statements_of_text_that_stays_give_figures_alone(prepared: Any) -> None:
    """They lie beside the recipe for their owner, the manifest has accuracy with an interval, and nothing else."""
    import cogen
    from cogen.host import Host

    ready = prepared(leaves="figures", heldout=False)
    spec, folder = trained(ready)
    assert (spec.suites, [suite.id for suite in spec.private_suites]) == ((), ["private", "private-statements"])
    stated = spec.private_suites[1]
    home = ready.home / "private" / "statements"
    assert (home.stat().st_mode & 0o777, (home / "test.jsonl").stat().st_mode & 0o777) == (0o700, 0o600)
    task = read_private(home / "private.yaml")
    assert (task.metric, task.documents["test"], task.digests["test"]) == ("acc", stated.documents, stated.text_digest)
    assert stated.base is not None
    for figure in (stated.base, stated.expert):
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    dev, test = private_items(ready.recipe, ready.corpus, 60)
    assert (len(dev), len(test)) == (task.lines["dev"], task.lines["test"])
    # Counted are the files that they are of, in the manifest and when measured again.
    assert groups(test) == task.documents["test"] < len(test)
    for file in (file for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        assert not any(item.choices[item.answer].encode() in content for item in test)
    # Measured again, without a cache: the base's figure is the manifest's.
    base = ready.recipe.base.source.removeprefix("file://")
    again = cogen.evaluate_private(base, home / "private.yaml", host=Host())
    assert again.documents == stated.documents
    assert (again.model.low, again.model.high) == pytest.approx((stated.base.low, stated.base.high), abs=1e-5)
    assert again.model.value == pytest.approx(stated.base.value, abs=1e-5)
    # The same recipe gives the same suite: the salt stays.
    assert trained(ready)[0].private_suites[1].text_digest == stated.text_digest


def test_intervals_are_wider_where_items_share_a_document(prepared: Any) -> None:
    """The manifest's interval draws documents; every document has several items here."""
    from cogen.evals.statistics import interval

    ready = prepared()
    _, test = items_of(ready.recipe, ready.corpus, {"statements": None})["statements"]
    names = [item.passage.text for item in test]
    assert max(Counter(names).values()) > 1
    # A model that is right on whole documents: each item is what its document is.
    rights = {name: float(number % 2) for number, name in enumerate(dict.fromkeys(names))}
    pairs = [(rights[name], 1.0) for name in names]
    own = Settings(dtype="float32")
    clustered, plain = interval(pairs, own, names), interval(pairs, own)
    assert clustered is not None
    assert plain is not None
    assert clustered[1] - clustered[0] > plain[1] - plain[0]


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("changes", [{}, {"leaves": "figures", "heldout": False}])
def test_too_few_statements_are_left_out_with_a_note(prepared: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    """A suite of fewer than thirty says nothing, whether it would ship or stay."""
    ready = prepared(**changes)
    few = ready.recipe.model_copy(update={"statements": StatementsRecipe(pairs=10, cloze=0)})
    reporter = Notes()
    assert write_statements(few, ready.corpus, tmp_path / "package", reporter) == []
    assert stage_private_statements(few, ready.corpus, tmp_path / "private", reporter) is None
    (note,) = reporter.notes
    assert "and 10 test items where 1 and 30 are needed" in note


def test_an_empty_private_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no document"):
        write_private_task(tmp_path / "none", "none", "None", "acc", "task", b"", b"")


def of_one_file(items: list[StatementItem], files: int) -> list[StatementItem]:
    """The same items, their passages dealt out to so many files."""
    texts = sorted({item.passage.text for item in items})
    place = {text: f"file {number % files}" for number, text in enumerate(texts)}
    return [replace(item, passage=replace(item.passage, group=place[item.passage.text])) for item in items]


@pytest.mark.parametrize(("files", "enough"), [(1, False), (9, False), (10, True)])
def test_items_of_one_file_are_no_suite(prepared: Any, files: int, enough: bool) -> None:
    """Thirty items of one patient say little, and what they say may be of one person."""
    ready = prepared(leaves="figures", heldout=False)
    dev, test = private_items(ready.recipe, ready.corpus, 60)
    assert len(test) >= 30
    dealt = of_one_file(test, files)
    assert too_few(dev, dealt) == (
        None if enough else f"{len(test)} test items of {files} files where at least 10 files are needed"
    )
    # The intervals of the suite draw whole files: all items of one have one name, and no two files share it.
    names = [json.loads(line)["document"] for line in json_lines(dealt).splitlines()]
    pairs = {(name, item.passage.group) for name, item in zip(names, dealt, strict=True)}
    assert len(pairs) == len(set(names)) == files


_SECRET_HOURS = dict(zip(_HOURS, ("13", "17", "19", "23", "37", "47"), strict=True))


def secret_document(rng: random.Random) -> str:
    """Sentences like those of :func:`document`, with numbers that no other source has."""
    return re.sub(r"\d+", lambda found: _SECRET_HOURS[found[0]], document(rng))


@pytest.mark.parametrize("leaves", ["heldout", "figures"])
def test_replacements_are_of_sources_that_may_go_as_far(prepared: Any, leaves: str) -> None:
    """Not of one that lets nothing leave; in a suite that ships, of none whose text stays."""
    beside = {"leaves": "nothing"} if leaves == "figures" else {"leaves": "figures"}
    ready = prepared(beside=beside, written=secret_document, leaves=leaves, heldout=leaves == "heldout")
    secret, corpus = set(_SECRET_HOURS.values()), ready.corpus
    if leaves == "figures":
        sides, texts = private_items(ready.recipe, corpus, None), corpus.private.test
    else:
        sides, texts = items_of(ready.recipe, corpus, {"statements": None})["statements"], corpus.test
    words = {word for side in sides for item in side for word in item.words}
    assert words & set(_HOURS)
    assert not words & secret
    # A field of all texts would have given them.
    field = read_field(found.text for found in (*corpus.train, *texts))
    asked = [StatementText(found.text, found.group) for found in texts]
    assert {word for item in pairs(asked, field) for word in item.words} & secret

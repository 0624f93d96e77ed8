"""Sources that are held out only: ``use = "suite"``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import source, write_texts

from cogen.conformance.private_text import check_private
from cogen.errors import SpecError, TrainError
from cogen.forge.audit import _compared
from cogen.forge.build import prepare, run_training
from cogen.forge.corpus import CorpusParts, build_corpus
from cogen.forge.package import package
from cogen.forge.recipe import read_recipe
from cogen.forge.statements import passages
from cogen.host import Expert
from cogen.text.grams import ngrams, overlap
from cogen.untrusted.json_lines import json_lines


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def split(path: Path) -> CorpusParts:
    return build_corpus(read_recipe(path).corpus, path.parent)


@pytest.fixture
def other(recipe: Any) -> dict[str, Any]:
    """A second collection beside the recipe's own."""
    write_texts(recipe().parent / "other", 40, "other")
    return source(name="other", uri="file://other", heldout=False, leaves="heldout", use="suite")


class TestSplit:
    """``use = "suite"``: held out only, and at least half of each split."""

    def test_half_of_each_split(self, recipe: Any, other: dict[str, Any]) -> None:
        """Of 30 and 5 documents 15 and 2 are of the recipe's own source, the same ones as before."""
        parts = split(recipe(corpus={"sources": [source(), other]}))
        count = {
            name: [sum(d.source == name for d in documents) for documents in (parts.test, parts.dev)]
            for name in ("invented", "other")
        }
        assert count == {"invented": [15, 2], "other": [15, 3]}
        alone = split(recipe(corpus={"sources": [source()]}))
        own = [d.text for d in parts.test if d.source == "invented"]
        assert own == [d.text for d in alone.test][:15]
        assert [d.text for d in parts.train] == [d.text for d in alone.train]

    def test_neither_trained_on_nor_a_sample(self, recipe: Any, other: dict[str, Any]) -> None:
        """Not even the documents that were not chosen; nothing of it is in the sizes of training text."""
        parts = split(recipe(corpus={"sources": [source(), other], "sample_bytes": 60_000}))
        assert {d.source for d in parts.train} == {d.source for d in parts.samples} == {"invented"}
        assert set(parts.by_source) == {"invented"}
        kept = {account.name: account.kept_documents for account in parts.accounts}
        assert kept["other"] == 40 * 3

    def test_the_rest_serves_statements(self, recipe: Any, other: dict[str, Any]) -> None:
        """All of its documents: in a split, or left for statements, most of them of test; groups stay on one side."""
        parts = split(recipe(corpus={"sources": [source(), other]}))
        assert len([d for d in parts.dev + parts.test + parts.spare if d.source == "other"]) == 40 * 3
        dev, test = passages(parts)
        assert {d.text for d in parts.dev} <= {d.text for d in dev}
        assert {d.text for d in parts.test} <= {d.text for d in test}
        groups = [{d.group for d in side if d.source == "other"} for side in (dev, test)]
        assert not groups[0] & groups[1]
        assert len(groups[0] | groups[1]) == 40
        rest = groups[0] - {d.group for d in parts.dev}
        assert 0 < len(rest) < 0.3 * len({d.group for d in parts.spare} - {d.group for d in parts.dev + parts.test})

    def test_the_rest_stays_if_it_may_not_ship(self, recipe: Any, other: dict[str, Any]) -> None:
        """Text that gives figures alone is no statement of a shipped suite."""
        write_texts(recipe().parent / "closed", 40, "closed")
        closed = other | {"name": "closed", "uri": "file://closed", "leaves": "figures"}
        parts = split(recipe(corpus={"sources": [source(), other, closed]}))
        assert parts.private is not None
        assert {d.source for d in parts.spare} == {"invented", "other"}

    def test_training_text_that_quotes_it_is_removed(self, recipe: Any, other: dict[str, Any]) -> None:
        """As for any held-out text."""
        path = recipe(corpus={"sources": [source(), other]})
        held = [d for d in split(path).test if d.source == "other"]
        quotes = {" ".join(d.text.split()[:12]) + f" and own words of number {i}." for i, d in enumerate(held)}
        (path.parent / "texts" / "zz-quotes.txt").write_text("\n\n".join(sorted(quotes)))
        parts = split(path)
        texts = {d.text for d in parts.test if d.source == "other"}
        assert texts
        known = set().union(*(ngrams(d.text) for d in parts.train))
        assert max(overlap(text, known) for text in texts) <= 0.2

    def test_all_of_a_suite(self, recipe: Any, other: dict[str, Any]) -> None:
        """Where no text of a trained source may be held out, all of each split is of the other one; also at home."""
        parts = split(recipe(corpus={"sources": [source(heldout=False, leaves="samples"), other]}))
        assert {d.source for d in parts.test + parts.dev} == {"other"}
        assert {d.source for d in parts.samples} == {"invented"}
        assert parts.private is not None  # the trained source has a suite at home, of all that it asks for
        assert [len(parts.private.test), len(parts.private.dev)] == [len(parts.test), len(parts.dev)] == [30, 5]
        closed = other | {"leaves": "figures"}
        sources = [source(heldout=False, leaves="nothing"), closed]
        parts = split(recipe(corpus={"sources": sources}))
        assert parts.test == []
        assert parts.private is not None
        assert {d.source for d in parts.private.test + parts.private.dev} == {"other"}

    def test_too_little_of_it(self, recipe: Any, other: dict[str, Any]) -> None:
        """The recipe's own source does not step in."""
        few = other | {"members": ["other00*.txt"], "max_bytes": 2000}
        with pytest.raises(TrainError, match="could be held out") as caught:
            split(recipe(corpus={"sources": [source(), few]}))
        assert "use = 'suite'" in str(caught.value.hint)

    @pytest.mark.parametrize(
        ("own", "changes", "text"),
        [
            ({}, {"leaves": "samples"}, "its text is never a sample"),
            ({"use": "suite"}, {}, "none is left to train on"),
            ({}, {"uri": "file://texts"}, "'invented' trains on the same file://texts"),
            ({}, {"use": "test"}, "corpus.sources.1.use"),
        ],
    )
    def test_contradictions(
        self, recipe: Any, other: dict[str, Any], own: dict[str, Any], changes: dict[str, Any], text: str
    ) -> None:
        """One line that says which."""
        with pytest.raises(SpecError, match=text) as caught:
            read_recipe(recipe(corpus={"sources": [source(**own), other | changes]}))
        assert caught.value.hint

    def test_recipes_without_it_keep_their_digest(self, recipe: Any) -> None:
        """The default spelled out means the same."""
        plain = read_recipe(recipe())
        assert read_recipe(recipe(corpus={"sources": [source(use="training")]})).digest == plain.digest
        assert "use" not in plain.model_dump(mode="json")["corpus"]["sources"][0]


def test_the_card_and_the_check_name_it(recipe: Any, other: dict[str, Any]) -> None:
    """Zero training tokens, its text in the suites alone, and how much of each split is of such sources."""
    prepared = prepare(recipe(corpus={"sources": [source(), other]}))
    packaged = package(prepared, run_training(prepared, lambda _: None))
    own, only = packaged.expert.model_dump(mode="json")["data"]["sources"]
    assert (only["use"], only["documents"], only["tokens"], only["share"]) == ("suite", 0, 0, 0)
    assert "use" not in own
    assert own["share"] == 1
    assert packaged.expert.schema_version == 2
    assert "half of each split is of sources that are held out only: other" in str(packaged.expert.data.split)
    root = prepared.home / "src" / "cogen_plugin_tiny"
    shipped = {
        name: {row["source"] for _, row in json_lines((root / name).read_bytes(), name)}
        for name in ("samples.jsonl", "suites/dev.jsonl", "suites/test.jsonl")
    }
    both = {"invented", "other"}
    assert shipped == {"samples.jsonl": {"invented"}, "suites/dev.jsonl": both, "suites/test.jsonl": both}
    shown = check_private(Expert(packaged.expert, "cogen-plugin-tiny", "0.1.0", root))
    assert shown.endswith(" documents of invented, 18 documents of other (held out only)")


def test_the_membership_test_leaves_it_out(recipe: Any, other: dict[str, Any]) -> None:
    """It has no members: what differs would be the source."""
    prepared = prepare(recipe(corpus={"sources": [source(), other]}))
    members, others = _compared(prepared, range(len(prepared.encoded)), 1000)
    held = [document for document in prepared.corpus.held if document.source == "invented"]
    assert len(held) == 17
    assert sorted(others) == sorted(prepared.encode(held))
    assert members

"""The split: whole groups, no overlap, the same documents from the same recipe on every machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.training import source

from cogen.errors import SpecError, TrainError
from cogen.forge.corpus import CorpusParts, build_corpus, json_lines
from cogen.forge.recipe import read_recipe
from cogen.text.grams import ngrams, overlap


def split(path: Path) -> CorpusParts:
    return build_corpus(read_recipe(path).corpus, path.parent)


class TestSplit:
    """Random splits leak, so whole groups are held out."""

    def test_no_group_on_both_sides(self, recipe: Any) -> None:
        """Train, dev and test share no file; the counts are the recipe's; at most two documents of a group."""
        parts = split(recipe())
        groups = [{d.group for d in part} for part in (parts.train, parts.dev, parts.test)]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        assert (len(parts.dev), len(parts.test)) == (5, 30)
        for part in (parts.dev, parts.test):
            assert max(sum(d.group == g for d in part) for g in {d.group for d in part}) <= 2
        assert all(60 <= len(d.text) <= 110 for d in parts.train + parts.dev + parts.test)
        assert parts.by_source == {"invented": sum(d.bytes for d in parts.train)}

    def test_deterministic_in_any_order_of_the_file_system(
        self, recipe: Any, texts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same documents in the same order; another seed, another split."""
        path = recipe()
        first = asdict(split(path))
        real = Path.rglob
        monkeypatch.setattr(Path, "rglob", lambda self, pattern: sorted(real(self, pattern), reverse=True))
        assert asdict(split(path)) == first
        assert [d.text for d in split(recipe(corpus={"seed": 6})).train] != [d["text"] for d in first["train"]]

    def test_what_overlaps_is_removed(self, recipe: Any) -> None:
        """A training document that repeats a held-out one is dropped; no pair is above the limit."""
        path = recipe()
        before = split(path)
        leaked = before.test[0].text.split()
        # 12 of 16 words: above the limit of 20 %, below the half at which it would count as a duplicate
        (path.parent / "texts" / "zz.txt").write_text(
            " ".join(leaked[:11]) + " " + " ".join(f"quux{i}" for i in range(6)) + "."
        )
        parts = split(path)
        assert parts.removed_overlapping + parts.removed_duplicates >= 1
        held = set().union(*(ngrams(d.text) for d in parts.test + parts.dev))
        known = set().union(*(ngrams(d.text) for d in parts.train))
        assert all(overlap(d.text, held) <= 0.2 for d in parts.train)
        assert all(overlap(d.text, known) <= 0.2 for d in parts.test + parts.dev)
        assert parts.test_overlap == sum(overlap(d.text, known) for d in parts.test) / 30

    def test_copies_are_removed(self, recipe: Any) -> None:
        """Near-copies count once, and are counted."""
        path = recipe()
        for name in ("t003.txt", "t004.txt"):
            text = (path.parent / "texts" / name).read_text()
            (path.parent / "texts" / f"copy-{name}").write_text(text)
        parts = split(path)
        assert parts.removed_duplicates == 6
        everything = [d.text for d in parts.train + parts.dev + parts.test]
        assert len(set(everything)) == len(everything)

    def test_samples_are_training_text_that_may_be_shipped(self, recipe: Any, texts: Any) -> None:
        """Of sources whose text we may hold out, within the limit, and never a suite's."""
        path = recipe()
        texts(path.parent / "closed", 20, "closed")
        document = read_recipe(path).model_dump(mode="json")["corpus"]["sources"][0]
        closed = {k: v for k, v in document.items() if v is not None} | {
            "name": "closed",
            "uri": "file://closed",
            "license": "GPL-3.0-only",
            "heldout": False,
        }
        parts = split(recipe(corpus={"sources": [{k: v for k, v in document.items() if v is not None}, closed]}))
        assert {d.source for d in parts.train} == {"invented", "closed"}
        assert {d.source for d in parts.test + parts.dev + parts.samples} == {"invented"}
        assert 0 < len(json_lines(parts.samples)) <= 2000
        assert {d.text for d in parts.samples} <= {d.text for d in parts.train}
        assert all(json.loads(line)["text"] for line in json_lines(parts.samples).splitlines())

    def test_samples_quote_no_held_out_text(self, recipe: Any) -> None:
        """Training text may share a little with held-out text; a sample that ships shares not one word 8-gram."""
        path = recipe()
        folder = path.parent / "texts"
        for file in sorted(folder.glob("*.txt")):  # for every document another one that quotes nine words of it
            quotes = [" ".join(p.split()[:9]) for p in file.read_text().split("\n\n")]
            own = [" ".join(f"own{file.stem}x{i}y{j}" for j in range(4)) for i in range(len(quotes))]
            text = "\n\n".join(f"{quote} {rest}." for quote, rest in zip(quotes, own, strict=True))
            (folder / f"quote-{file.name}").write_text(text)
        parts = split(recipe(corpus={"overlap_limit": 0.5, "sample_bytes": 60_000}))
        held = set().union(*(ngrams(d.text) for d in parts.test + parts.dev))
        assert any(overlap(d.text, held) > 0 for d in parts.train)
        assert parts.samples
        assert all(overlap(d.text, held) == 0 for d in parts.samples)

    def test_a_large_source_does_not_crowd_out_a_small_one(self, recipe: Any, texts: Any) -> None:
        """Samples are drawn from the sources in turn: equal bytes of each, as long as it has some."""
        path = recipe()
        texts(path.parent / "small", 12, "small")
        one = {
            k: v for k, v in read_recipe(path).model_dump(mode="json")["corpus"]["sources"][0].items() if v is not None
        }
        small = one | {"name": "small", "uri": "file://small"}
        parts = split(recipe(corpus={"sources": [one, small], "sample_bytes": 4000}))
        given = {
            name: sum(len(json_lines([d])) for d in parts.samples if d.source == name) for name in ("invented", "small")
        }
        largest = max(len(json_lines([d])) for d in parts.samples)
        assert parts.by_source["invented"] > 2 * parts.by_source["small"]
        assert abs(given["invented"] - given["small"]) <= largest
        assert sum(given.values()) > 4000 - 2 * largest

    def test_a_source_gives_at_most_its_share(self, recipe: Any) -> None:
        """``max_bytes`` of it, a random part; ``drop`` leaves documents out."""
        path = recipe()
        one = {
            k: v for k, v in read_recipe(path).model_dump(mode="json")["corpus"]["sources"][0].items() if v is not None
        }
        every = len(split(path).train)
        parts = split(recipe(corpus={"sources": [one | {"max_bytes": 16_000}]}))
        assert sum(d.bytes for d in parts.train + parts.dev + parts.test) <= 16_000
        assert len(parts.train) < every
        parts = split(recipe(corpus={"sources": [one | {"drop": ["^[a-m]"]}], "test_documents": 30}))
        assert all(d.text[0] > "m" for d in parts.train + parts.dev + parts.test)


def test_recipes_of_before_give_the_same_documents(recipe: Any, texts: Any) -> None:
    """`heldout = true`, and a copyleft source beside it: digests of the files as version 0.1 wrote them.

    They say `segmentation = "latin"` now, which is no part of the digest.
    """
    home = recipe().parent
    texts(home / "closed", 20, "closed")
    for name in ("t003.txt", "t004.txt"):
        (home / "texts" / f"copy-{name}").write_text((home / "texts" / name).read_text())
    closed = source(name="closed", uri="file://closed", license="GPL-3.0-only", heldout=False)
    path = recipe(corpus={"segmentation": "latin", "sources": [source(), closed]}, base="smollm2-135m-instruct")
    assert read_recipe(path).digest == "sha256:2dd7362146d71c35bf6d9a9331880a507f8fc692b818dfe137014a47b1fded16"
    parts = split(path)
    assert parts.private is None
    digests = [hashlib.sha256(json_lines(x)).hexdigest() for x in (parts.train, parts.dev, parts.test, parts.samples)]
    assert digests == [
        "baf6a4b0793ed507c1e76b016aec8e9ac6bd83c04062e02f70321d3ed46363cb",
        "75f43da8fd5487af2031d852337b916381b7568b59c5f3c68908e33670944559",
        "cc279eec65e8aac4caa463ebf6e31179d399a0f711147f1a129bd9435a41f4bc",
        "34e7b419b5eb463c9d5a736ee0dbdd7360a148f509fb7e4c414ec4d2c278b61c",
    ]


@pytest.mark.parametrize(
    ("id", "digest"),
    [
        ("clinical", "ef60ac48e4d7d194bb9d65dd8add5ddfdbfb3f50fffdf7d8c95c247e56916dd6"),
        ("energy", "2f735485fac1341989c7e036d1a864c3274299d7c2d287a95a0e06e4bb14eafe"),
        ("materials", "44c9b5d9e52962b034ffbbc4539b05736ebc7c96275b1ca9a8a30e0ac29bb8d1"),
        ("neuro", "9960f559907aa2d06de89f29b58aa61821fc051cddb83eaf5a3aec523efe5ab6"),
        ("power", "16046c542365a7413178ed62b032e7878481578a3f2ae4287e53dd38f111601e"),
    ],
)
def test_the_reference_experts_recipes_keep_their_digests(id: str, digest: str) -> None:
    """Fields that came later are not in them."""
    path = Path(__file__).parents[2] / "plugins" / f"cogen-plugin-{id}" / "recipe.toml"
    assert read_recipe(path).digest == f"sha256:{digest}"


@pytest.mark.parametrize("license", ["GPL-3.0-only", "CC-BY-SA-4.0", "unknown", "LicenseRef-other"])
def test_copyleft_text_is_never_held_out(recipe: Any, license: str) -> None:
    """Held-out text ships, so only licenses that allow it; the message names the source."""
    path = recipe()
    one = read_recipe(path).model_dump(mode="json")["corpus"]["sources"][0] | {"license": license}
    with pytest.raises(TrainError, match="'invented' may not be held out") as caught:
        split(recipe(corpus={"sources": [{k: v for k, v in one.items() if v is not None}]}))
    assert "CC0-1.0" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("corpus", "text"),
    [
        ({"test_documents": 80}, "could be held out where 80 and 5 are wanted"),
        ({"min_characters": 2000}, "min_characters is larger than max_characters"),
        ({"members": ["*.md"]}, "source 'invented' gave no text"),
    ],
)
def test_too_little_text(recipe: Any, corpus: dict[str, Any], text: str) -> None:
    """Said before anything is trained, with a hint."""
    path = recipe()
    one = {k: v for k, v in read_recipe(path).model_dump(mode="json")["corpus"]["sources"][0].items() if v is not None}
    of_source = {k: v for k, v in corpus.items() if k in one}
    rest = {k: v for k, v in corpus.items() if k not in one}
    with pytest.raises(TrainError, match=text) as caught:
        split(recipe(corpus=rest | {"sources": [one | of_source]}))
    assert caught.value.hint


MISTAKES: dict[str, tuple[str, str, str]] = {
    "unknown field": ('id = "tiny"', 'id = "tiny"\nspeed = 1', "speed"),
    "unknown mode": ("rank = 2", 'rank = 2\nmode = "dora"', "training.mode"),
    "rank of zero": ("rank = 2", "rank = 0", "training.rank"),
    "too few tests": ("test_documents = 30", "test_documents = 10", "corpus.test_documents"),
    "no license": ('license = "CC0-1.0"', 'license = "free"', "corpus.sources.0.license"),
    "unpinned": ('uri = "file://texts"', 'uri = "wheel://x==1"', "needs `digest`"),
    "another scheme": ('uri = "file://texts"', 'uri = "ftp://x"', "corpus.sources.0.uri"),
    "bad pattern": ("heldout = true", 'heldout = true\ndrop = ["("]', "drop: '('"),
    "statistics": ("[card]", "[statistics]\nfloor = 1\n\n[card]", "statistics.floor"),
    "level": ("heldout = true", 'leaves = "everything"', "corpus.sources.0.leaves"),
    "two levels": ("heldout = true", 'heldout = true\nleaves = "figures"', "contradict each other"),
    "no extractor": ('extract = "text"', 'extract = "ppt"', "corpus.sources.0.extract"),
    "id": ('id = "tiny"', 'id = "Tiny!"', "id"),
    "no TOML": ('id = "tiny"', "id = ", "is not valid TOML"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_a_recipe_name_their_field(recipe: Any, name: str) -> None:
    """One line with the place, and a hint."""
    old, new, place = MISTAKES[name]
    path = recipe()
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        read_recipe(path)
    assert place in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_recipes_digest_is_of_its_meaning(recipe: Any) -> None:
    """Comments and the order of keys are nothing; a value is."""
    path = recipe()
    digest = read_recipe(path).digest
    path.write_text("# a comment\n" + path.read_text())
    assert read_recipe(path).digest == digest
    assert read_recipe(recipe(training={"seed": 4})).digest != digest

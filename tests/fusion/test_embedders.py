"""Which embedding model routing by meaning takes, and what a plan says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.manifests import make_expert

from cogen.checkpoints.digests import file_digest
from cogen.errors import SourceError
from cogen.fusion.embedders import choose_embedder, embedder_notes
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Expert
from cogen.routing import counts
from cogen.routing.embedder import DEFAULT, DEFAULT_DIGEST, EMBEDDERS, MULTILINGUAL, Embedder
from cogen.routing.reading import Coverage

CHINESE = ["医师应当具备执业资格。", "国家对传染病防治实行预防为主的方针。"]
YI = ["ꀀꀁꀂ", "ꀃꀄ"]  # neither model reads it


@pytest.fixture(autouse=True)
def _readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM reads ASCII, the multilingual model all up to U+9FFF, counts everything; no model is fetched."""
    reads = {DEFAULT: 0x7F, MULTILINGUAL: 0x9FFF}

    def reading(self: Embedder, texts: Any) -> Coverage:
        letters = "".join(texts)
        bound = reads.get(self.source, 0x110000)
        unread = sum(ord(c) > bound for c in letters)
        return Coverage(len(letters), unread, len(letters), unread)

    monkeypatch.setattr(Embedder, "reading", reading)
    monkeypatch.setattr(Embedder, "folder", lambda self: Path())


def expert(folder: Path, id: str, texts: list[str], languages: tuple[str, ...] = ("en",)) -> Expert:
    """One whose samples are these texts."""
    content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
    path = folder / "texts" / f"{id}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    samples = {"path": "samples.jsonl", "digest": file_digest(path), "license": "CC0-1.0"}
    found = make_expert(folder, id, samples=samples, languages=list(languages))
    (found.root / "samples.jsonl").write_bytes(content)
    return found


def recipe(**changes: Any) -> FuseRecipe:
    return FuseRecipe(experts={}, strategy="route", **changes)


def messages(asked: FuseRecipe, embedder: Embedder, experts: list[Expert]) -> list[str]:
    return [note.message for note in embedder_notes(asked, embedder, experts)]


def test_english_experts_keep_the_default(tmp_path: Path) -> None:
    """With its digest, and without a word: old plans and locks stay as they are."""
    experts = [expert(tmp_path, "power", ["the grid"]), expert(tmp_path, "mixed", ["the grid"], ("en", "de"))]
    found = choose_embedder(recipe(), experts)
    assert (found.source, found.digest) == (DEFAULT, DEFAULT_DIGEST)
    assert messages(recipe(), found, experts) == []


@pytest.mark.parametrize(
    ("texts", "languages", "reason"),
    [
        (CHINESE, ("zh",), "cannot read 100% of the letters of its samples"),
        (CHINESE, ("en",), "cannot read 100% of the letters of its samples"),  # texts decide, not what is declared
        (["Der Arzt hilft."], ("de",), "was trained for en alone, not for de"),
        (["Der Arzt hilft."], ("de-AT", "fr"), "not for de, fr"),
    ],
)
def test_other_languages_get_the_multilingual_model(
    tmp_path: Path, texts: list[str], languages: tuple[str, ...], reason: str
) -> None:
    experts = [expert(tmp_path, "power", ["the grid"]), expert(tmp_path, "law", texts, languages)]
    found = choose_embedder(recipe(), experts)
    assert (found.source, found.digest) == EMBEDDERS["multilingual"]
    (note,) = messages(recipe(), found, experts)
    assert f"compared by {MULTILINGUAL}" in note
    assert reason in note


def test_a_language_that_is_unknown_changes_nothing(tmp_path: Path) -> None:
    assert choose_embedder(recipe(), [expert(tmp_path, "power", ["grid"], ("unknown",))]).source == DEFAULT


def test_what_no_model_reads_is_compared_by_characters(tmp_path: Path) -> None:
    experts = [expert(tmp_path, "star", YI, ("ii",))]
    found = choose_embedder(recipe(), experts)
    assert (found.source, found.digest) == (counts.SOURCE, counts.DIGEST)
    (note,) = messages(recipe(), found, experts)
    assert f"compared by {counts.SOURCE}" in note


def test_without_a_network_characters_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(self: Embedder) -> Path:
        raise SourceError("not in the cache", hint="unset HF_HUB_OFFLINE")

    monkeypatch.setattr(Embedder, "folder", folder)
    notes: list[str] = []

    class Reporter:
        def note(self, text: str) -> None:
            notes.append(text)

    experts = [expert(tmp_path, "law", CHINESE, ("zh",))]
    assert choose_embedder(recipe(), experts, Reporter()).source == counts.SOURCE
    assert notes == [
        "the multilingual embedder is not here (not in the cache): texts are compared by counts of characters"
    ]


def test_who_names_an_embedder_gets_it_and_is_warned(tmp_path: Path) -> None:
    """By name, for each expert that it cannot read, with what to choose instead."""
    experts = [expert(tmp_path, "power", ["the grid"]), expert(tmp_path, "law", CHINESE, ("zh",))]
    asked = recipe(embedder="minilm")
    found = choose_embedder(asked, experts)
    assert found.source == DEFAULT
    (note,) = messages(asked, found, experts)
    assert note.startswith(f"routing by meaning will be poor for law: {DEFAULT} cannot read 100% of the letters")
    assert "29 of 29 pieces are unknown" in note
    assert note.endswith("choose --embedder multilingual, or --embedder counts, which reads every language")
    asked = recipe(embedder="counts")
    assert messages(asked, choose_embedder(asked, experts), experts) == []


def test_a_locked_embedder_is_taken_as_it_is(tmp_path: Path) -> None:
    asked = recipe(embedder="hf://BAAI/bge-small-zh-v1.5", embedder_digest="sha256:" + "1" * 64)
    found = choose_embedder(asked, [expert(tmp_path, "law", CHINESE, ("zh",))])
    assert (found.source, found.digest) == (asked.embedder, asked.embedder_digest)


def test_a_shipped_embedding_binds_to_the_default(tmp_path: Path) -> None:
    """It was made by the default model; the plan says whom that serves badly."""
    vector = {"embedding": "samples.jsonl", "digest": "sha256:" + "2" * 64, "license": "CC0-1.0"}
    experts = [make_expert(tmp_path, "private", samples=vector), expert(tmp_path, "law", CHINESE, ("zh",))]
    found = choose_embedder(recipe(), experts)
    assert found.source == DEFAULT
    (note,) = messages(recipe(), found, experts)
    assert "poor for law" in note


def test_what_cannot_be_fetched_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(self: Embedder, texts: Any) -> Coverage:
        raise SourceError("no network", hint="")

    monkeypatch.setattr(Embedder, "reading", reading)
    experts = [expert(tmp_path, "power", ["the grid"])]
    found = choose_embedder(recipe(), experts)
    assert found.source == DEFAULT
    assert messages(recipe(), found, experts) == [
        f"not checked: whether {DEFAULT} reads the experts' samples (no network)"
    ]

"""Traditional and simplified Chinese are one text where a recipe asks for it; what is trained on stays."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from support.training import source

from cogen.errors import MissingExtraError, SpecError
from cogen.forge.documents import TextComparison, collect
from cogen.forge.recipe import Corpus, read_recipe
from cogen.reporter import SILENT
from cogen.text import variants
from cogen.text.variants import simplified

pytest.importorskip("opencc")

SIMPLIFIED = (
    "患者王伟家住东城街道因胸闷气短于三月入院既往有咳嗽病史长期服用阿司匹林查房时诉较前好转嘱继续服用并于两周后复诊"
)
TRADITIONAL = (
    "患者王偉家住東城街道因胸悶氣短於三月入院既往有咳嗽病史長期服用阿司匹林查房時訴較前好轉囑繼續服用並於兩週後複診"
)
NUMBERS = "一二三四五六七八九十"


def test_one_text() -> None:
    """By character, both ways round; what is not Chinese stays."""
    assert simplified(TRADITIONAL) == SIMPLIFIED == simplified(SIMPLIFIED)
    assert simplified("Patient 王偉, 38 °C") == "Patient 王伟, 38 °C"
    assert simplified("plain") == "plain"
    for one, other in ((SIMPLIFIED, TRADITIONAL), (TRADITIONAL, SIMPLIFIED)):
        folded, plain = TextComparison("unicode", True), TextComparison("unicode")
        assert folded.overlap(one, folded.ngrams(other)) == 1
        assert plain.overlap(one, plain.ngrams(other)) < 0.2


def documents(folder: Path, fold: bool) -> list[str]:
    (folder / "texts").mkdir(parents=True)
    for number, place in enumerate(NUMBERS):
        for name, text in (("s", SIMPLIFIED), ("t", TRADITIONAL)):
            own = "".join(character + place for character in text)
            (folder / "texts" / f"{name}{number}.txt").write_text(own, encoding="utf-8")
    corpus: dict[str, Any] = {"segmentation": "unicode", "fold_chinese": fold, "sources": [source(uri="file://texts")]}
    corpus |= {"min_characters": 40, "max_characters": 1200}
    found, _ = collect(Corpus.model_validate(corpus), folder, SILENT)
    return sorted(document.text for document in found)


def test_only_the_comparison_changes(tmp_path: Path) -> None:
    """Copies in the other characters are dropped, and what is kept is as it was written."""
    every, folded = documents(tmp_path / "a", False), documents(tmp_path / "b", True)
    assert (len(every), len(folded)) == (20, 10)
    assert set(folded) <= set(every)
    assert any(simplified(text) != text for text in folded)


def test_recipes_without_it_keep_their_digest(recipe: Any) -> None:
    path = recipe()
    plain = read_recipe(path)
    assert "fold_chinese" not in plain.corpus.model_dump()
    assert plain.corpus.fold_chinese is False
    asked = read_recipe(recipe(corpus={"fold_chinese": True}))
    assert asked.corpus.model_dump()["fold_chinese"] is True
    with pytest.raises(SpecError, match="fold_chinese needs segmentation"):
        read_recipe(recipe(corpus={"fold_chinese": True, "segmentation": "latin"}))


@pytest.mark.parametrize("wrong", ["missing", "another"])
def test_without_the_dictionary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str) -> None:
    """Nothing goes on with another one: what a recipe gives would depend on what is installed."""

    class Other:
        def locate_file(self, name: str) -> Path:
            (tmp_path / "x").write_text("偉\t伟\n")
            return tmp_path / "x"

    def find(name: str) -> Other:
        if wrong == "missing":
            raise PackageNotFoundError(name)
        return Other()

    variants._table.cache_clear()
    monkeypatch.setattr(variants, "distribution", find)
    with pytest.raises(MissingExtraError, match="fold_chinese = true needs the dictionary") as caught:
        simplified(TRADITIONAL)
    assert caught.value.hint is not None
    assert 'pip install "cogen-core[chinese]"' in caught.value.hint
    assert simplified("plain") == "plain"
    variants._table.cache_clear()

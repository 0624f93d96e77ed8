"""Words of scripts without spaces: pairs of characters, on a line of their own, and back."""

from __future__ import annotations

import pytest

from cogen.sharing.pairs import MARK, is_run, with_pairs, without_pairs, words


def test_pairs_are_words_where_nothing_separates_them() -> None:
    """Han, kana, Hangul and Thai in pairs, one character alone as it is; other words stay whole."""
    assert words("Ärzte, 传染病 and COVID-19") == ["ärzte", "传染", "染病", "and", "covid", "19"]
    assert words("药") == ["药"]
    assert words("医師の診療") == ["医師", "師の", "の診", "診療"]
    assert words("MRI检查A") == ["mri", "检查", "a"]


@pytest.mark.parametrize("text", ["power grids", "传染病\n药 and 染病", "แพทย์"])
def test_pairs_stand_on_a_line_of_their_own(text: str) -> None:
    found = with_pairs(text)
    assert without_pairs(found) == text
    assert (found == text) == (text == "power grids")
    assert without_pairs(with_pairs(without_pairs(found))) == text
    added = found[len(text) :].replace(MARK, "").split()
    assert set(words(text)) - {"and", "power", "grids"} <= set(added)


def test_runs() -> None:
    """Only what consists of such characters alone."""
    assert all(map(is_run, ["药", "医師", "診療する", "의사", "แพทย์"]))
    assert not any(map(is_run, ["", "grid", "MRI检查", "药。"]))

"""Runs of words, in every script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.text import latin
from cogen.text.grams import has_run, ngrams, overlap, runs, union
from cogen.text.scripts import is_unspaced, length, unspaced_share, weights, words

#: No test is timed.
SETTINGS = settings(deadline=None)


class TestNgrams:
    """Word 8-grams, lower case, words only."""

    def test_counts(self) -> None:
        """n words have n - 7 of them; a shorter text is one; punctuation and case play no part."""
        text = " ".join(f"w{i}" for i in range(20))
        assert len(ngrams(text)) == 13
        assert ngrams(text) == ngrams(text.upper().replace(" ", ", "))
        assert len(ngrams("a b c")) == len(ngrams("")) == 1
        assert ngrams("a b c d e f g h") == ngrams("a b c d e f g h.")

    @SETTINGS
    @given(count=st.integers(8, 40), cut=st.integers(0, 40))
    def test_overlap(self, count: int, cut: int) -> None:
        """The share of a text's 8-grams that another one holds: 0 for strangers, 1 for a part."""
        words = [f"w{i}" for i in range(count)]
        text = " ".join(words)
        assert overlap(text, ngrams(text)) == 1.0
        assert overlap(text, ngrams(" ".join(f"v{i}" for i in range(count)))) == 0.0
        known = ngrams(" ".join(words[:cut]))
        shared = max(0, min(cut, count) - 7)
        assert overlap(text, known) == shared / (count - 7)


TEXTS = {
    "Chinese": "患者因发热三天入院伴有咳嗽咳痰体温三十八度血压正常",
    "Japanese": "患者は三日間の発熱のため入院した咳と痰を伴い体温は高かった",
    "Thai": "ผู้ป่วยเข้ารับการรักษาด้วยอาการไข้สามวันร่วมกับอาการไอและมีเสมหะอุณหภูมิสูง",
}


class TestUnspaced:
    """Scripts that put no space between words."""

    @pytest.mark.parametrize(("name", "run"), [("Chinese", 12), ("Japanese", 12), ("Thai", 24)])
    def test_how_long_a_run_is(self, name: str, run: int) -> None:
        """8 words are 12 characters of Chinese or Japanese, 24 of Thai."""
        text = TEXTS[name]
        assert is_unspaced(text)
        assert {len(one.split()) for one in runs(words(text))} == {run}
        assert len(ngrams(text)) == len(words(text)) - run + 1

    @pytest.mark.parametrize("name", TEXTS)
    def test_a_part_of_a_text_is_found_in_it(self, name: str) -> None:
        """Whatever stands around it, and with other punctuation and widths."""
        text = TEXTS[name]
        assert overlap(text, ngrams(f"前 {text} 后")) == 1.0
        assert overlap(text, ngrams(text[:5] + "，" + text[5:] + "。")) == 1.0
        assert overlap(text, ngrams("今天天气很好我们一起去公园散步然后回家吃饭看电视")) == 0.0

    def test_one_letter_of_many_costs_only_the_runs_that_hold_it(self) -> None:
        """12 of them."""
        text = "".join(chr(0x4E00 + i) for i in range(200))
        other = text[:100] + "龘" + text[101:]
        assert overlap(other, ngrams(text)) == (189 - 12) / 189

    def test_mixed_text(self) -> None:
        """A word of a spaced script weighs 6, a Chinese character 4, a Thai one 2; a run is the shortest with 48."""
        units = words("MRI 检查显示 T2 高信号")
        assert units == ["mri", "检", "查", "显", "示", "t2", "高", "信", "号"]
        assert weights(units) == [6, 4, 4, 4, 4, 6, 4, 4, 4]
        assert list(runs(units, 4)) == [" ".join(units[i : i + 6]) for i in range(4)]

    def test_forms_of_the_same_text(self) -> None:
        """Full and half width, combining marks apart or not, vowel points, invisible characters."""
        assert words("ｶﾞﾝ ＡＢＣ１２") == words("ガン abc12")
        assert words("مُحَمَّد كـتاب") == words("محمد كتاب")
        assert words("cafe\u0301 हिन्दी") == ["café", "हिन्दी"]
        assert words("नमस्\u200dते") == words("नमस्ते")

    def test_text_without_letters_is_compared_by_its_characters(self) -> None:
        """Two such texts are not the same because neither has a word."""
        assert words("☎ → ∞") == ["☎", "→", "∞"]
        assert ngrams("☎→∞") != ngrams("∑∫√")
        assert latin.ngrams("☎→∞") == latin.ngrams("∑∫√")


def test_latin_text_is_compared_as_before() -> None:
    """Every gram is the same, except where code points stand for others: figures of published cards stay true."""
    text = "Ångström's naïve café — 10 µg of «Straße», and x_1 so on, and so on, and so on."
    plain = "Ångström's naïve café — 10 μg of «Strasse», and x_1 so on, and so on, and so on."
    assert ngrams(text) == latin.ngrams(plain)
    assert union([text, "a b c"]) == latin.ngrams(plain) | latin.ngrams("a b c")


@SETTINGS
@given(st.text(alphabet="abé ñ,.\n1_Ö", max_size=200))
def test_latin_text_is_compared_as_before_whatever_it_is(text: str) -> None:
    """Where it has a word at all."""
    if latin.ngrams(text) != latin.ngrams(""):
        assert ngrams(text) == latin.ngrams(text)


def test_what_is_too_short_to_be_found_inside_another() -> None:
    """Seven words, eleven Chinese characters."""
    assert has_run("a b c d e f g h")
    assert not has_run("a b c d e f g")
    assert has_run(TEXTS["Chinese"][:12])
    assert not has_run(TEXTS["Chinese"][:11])


def test_lengths_in_latin_letters() -> None:
    """A Han character is as much as three letters, kana and Hangul two."""
    assert length("abc é.") == 6
    assert length("发热 3。") == 3 + 3 + 1 + 1 + 1
    assert length("カルテ한글") == 10
    assert length(TEXTS["Thai"]) == len(TEXTS["Thai"])
    assert unspaced_share("") == unspaced_share("abc") == 0.0
    assert unspaced_share("ab发热") == 0.5

"""Documents of any language: within their bounds, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.text.cut import TOO_SHORT, cut
from cogen.text.scripts import length
from cogen.text.tidy import tidy

#: No test is timed.
SETTINGS = settings(deadline=None)

SENTENCES = {
    "Chinese": "患者因发热三天入院，伴有咳嗽、咳痰。体温38.5度；血压正常！",
    "Japanese": "患者は三日間の発熱のため入院した。咳と痰を伴い、カルテを確認した。",
    "Korean": "환자는 삼 일간의 발열로 입원하였다. 기침과 가래를 동반하였다.",
    "Thai": "ผู้ป่วยเข้ารับการรักษาด้วยอาการไข้สามวัน ร่วมกับอาการไอ",
    "Arabic": "دخل المريض إلى المستشفى بسبب الحمى؟ نعم، شكراً. درجة الحرارة طبيعية.",
    "Hindi": "रोगी को तीन दिन से बुखार था। उसे अस्पताल में भर्ती किया गया।",
    "English": "The patient came in with fever, e.g. influenza. It was treated; all went well. ",
    "no boundary": "x" * 70,
    "emoji": "👨‍👩‍👧 🇩🇪 e\u0301 ",
}


def kept(text: str, smallest: int, largest: int) -> list[str]:
    return [piece for piece, reason in cut(text, smallest, largest) if not reason]


def letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", SENTENCES)
@pytest.mark.parametrize(("smallest", "largest"), [(250, 1200), (20, 60), (40, 100), (1, 100)])
def test_nothing_is_lost(name: str, smallest: int, largest: int) -> None:
    """Every character that is no white space stands in a document, in order; every document is within the bounds."""
    text = tidy("\n\n".join([SENTENCES[name] * 30] * 3))
    found = list(cut(text, smallest, largest))
    assert [reason for _, reason in found if reason] == []
    assert letters("".join(piece for piece, _ in found)) == letters(text)
    assert all(smallest <= length(piece) <= largest for piece, _ in found)
    assert all(piece == piece.strip() for piece, _ in found)


@pytest.mark.parametrize(
    ("text", "largest", "expected"),
    [
        ("aaaa\n\nbbbb\n\ncccc", 10, ["aaaa\n\nbbbb", "cccc"]),
        ("One two. Three four. Five.", 12, ["One two.", "Three four.", "Five."]),
        ("Too e.g. small. It is.", 16, ["Too e.g. small.", "It is."]),
        ("发热三天。入院治疗。好转。", 18, ["发热三天。", "入院治疗。", "好转。"]),
        ("他说：“好。”然后走了。", 22, ["他说：“好。”", "然后走了。"]),
        ("发热三天，入院治疗，好转", 22, ["发热三天，", "入院治疗，好转"]),
        ("दो शब्द। तीन शब्द।", 10, ["दो शब्द।", "तीन शब्द।"]),
        ("كيف؟ نعم، شكرا.", 8, ["كيف؟", "نعم،", "شكرا."]),
        ("ภาษา ไทย", 5, ["ภาษา", "ไทย"]),
        ("ผู้ป่วย", 4, ["ผู้", "ป่วย"]),
        ("e\u0301e\u0301e\u0301", 5, ["e\u0301", "e\u0301e\u0301"]),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefghij", 4, ["abcd", "efg", "hij"]),
    ],
)
def test_where_it_cuts(text: str, largest: int, expected: list[str]) -> None:
    """After a paragraph, else a sentence, a clause, a word, else between two characters that a reader sees."""
    assert kept(text, 1, largest) == expected


def test_a_short_end_is_a_document_too() -> None:
    """It shares the text with the one before; a text that is short as a whole is too short."""
    text = "One two. Three four. Five six. Seven."
    assert kept(text, 10, 30) == ["One two. Three four.", "Five six. Seven."]
    assert list(cut("Seven.", 10, 30)) == [("Seven.", TOO_SHORT)]
    assert list(cut("", 10, 30)) == []


@SETTINGS
@given(
    text=st.lists(st.sampled_from([*"ab.;:!?。，、म発热กู้ \n", "\n\n", "word ", "e\u0301", "👨‍👩‍👧"]), max_size=300),
    smallest=st.integers(1, 40),
    largest=st.integers(90, 160),
)
def test_any_text(text: list[str], smallest: int, largest: int) -> None:
    """The laws of above for text of any kind; only a whole that is too short is lost."""
    whole = tidy("".join(text))
    found = list(cut(whole, smallest, largest))
    assert letters("".join(piece for piece, _ in found)) == letters(whole)
    assert all(smallest <= length(piece) <= largest for piece, reason in found if not reason)
    assert [reason for _, reason in found if reason] == ([TOO_SHORT] if 0 < length(whole) < smallest else [])


def test_line_breaks_of_wrapped_text() -> None:
    """A space between words, nothing between characters of a script without spaces."""
    assert tidy("患者因发热\n三天入院。\r\n伴有咳嗽\n\nA wrapped\nline\n患者") == (
        "患者因发热三天入院。伴有咳嗽\n\nA wrapped line 患者"
    )
    assert tidy("\ufeffOne\u2028two\x85three  four<!-- x\ny -->") == "One two three four<!-- x y -->"

"""One spelling for every text that reads the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.text.fold import fold
from cogen.text.grams import ngrams, overlap
from cogen.text.scripts import words

ARABIC = (
    "دخل المريض المستشفى في شهر مارس بسبب ألم في الصدر وضيق في التنفس وكان يتناول الأسبرين يوميا منذ سنوات طويلة "
    "وتم نقله إلى العناية المركزة"
)
PERSIAN = (
    "بیمار می‌گوید که درد سینه دارد و نمی‌تواند راحت نفس بکشد و داروهای خود را مصرف نکرده‌است و آمده‌است تا معاینه شود"
)
HEBREW = "החולה אושפז בבית החולים בשל חום במשך שלושה ימים עם שיעול ולחץ הדם היה תקין"
KOREAN = "환자는 삼월에 가슴 통증과 호흡 곤란으로 입원하였다 심전도에서 이상이 발견되었고 아스피린을 오래 복용하였다"
JAPANESE = "患者は三月に胸の痛みで入院しアスピリンを長く服用していた血圧は高く心電図に異常があった"
CHINESE = "患者王伟家住东城街道因胸闷气短于三月入院既往有反复咳嗽病史长期服用阿司匹林"
THAI = "น้ำหนักผู้ป่วยมีอาการเจ็บหน้าอกและหายใจลำบากเข้ารับการรักษาในเดือนมีนาคม 12"
RUSSIAN = "Пациент поступил в больницу с болью в груди, её лечащий врач назначил ещё один приём аспирина"
GREEK = "Ο ασθενής εισήχθη στο νοσοκομείο με πόνο στο στήθος και δύσπνοια και έλαβε ασπιρίνη"
ENGLISH = "The patient's office in difficult find the ward with pain in the chest after taking aspirin for many years"
TURKISH = "Hasta ılık bir İzmir sabahında ateş nedeniyle öksürük ile birlikte yatırıldı ve ışık altında incelendi"
ROMANIAN = "Pacientul a fost internat și tratat fără complicații în aceeași zi după care a plecat acasă"

Rewrite = Callable[[str], str]


def _forms(first: int, last: int) -> dict[str, str]:
    """Letter → one of its presentation forms."""
    plain = {unicodedata.normalize("NFKC", chr(code)): chr(code) for code in range(first, last)}
    return {letter: form for letter, form in plain.items() if len(letter) == 1}


_PRESENTATION = str.maketrans(_forms(0xFE80, 0xFEFD))
_RADICALS = str.maketrans("月入气长", "⽉⼊⽓⻓")
_HALF_WIDTH = str.maketrans({"ア": "ｱ", "ス": "ｽ", "ピ": "ﾋﾟ", "リ": "ﾘ", "ン": "ﾝ"})


def inserted(mark: str, every: int = 3) -> Rewrite:
    """After every so many letters, inside of words too."""
    return lambda text: "".join(c + mark if n % every == 0 and c.isalpha() else c for n, c in enumerate(text))


def replaced(**changes: str) -> Rewrite:
    return lambda text: text.translate(str.maketrans(changes))


SAME: dict[str, tuple[str, Rewrite]] = {
    "tatweel": (ARABIC, inserted("\u0640")),
    "one tatweel in eight words": (ARABIC, inserted("\u0640", 40)),
    "presentation forms": (ARABIC, lambda text: text.translate(_PRESENTATION)),
    "vowel points": (ARABIC, inserted("\u064e")),
    "vowel points in presentation forms": (ARABIC, inserted("\ufe76")),
    "marks of direction": (ARABIC, lambda text: "\u202b" + inserted("\u200f")(text) + "\u202c"),
    "isolates": (ARABIC, lambda text: "\u2067" + text + "\u2069"),
    "alef, yeh and teh marbuta": (ARABIC, replaced(أ="ا", إ="ا", ى="ي", ة="ه")),
    "Persian letters in Arabic": (ARABIC, replaced(ي="ی", ك="ک")),
    "no joiners": (PERSIAN, lambda text: text.replace("\u200c", "")),
    "Arabic letters in Persian": (PERSIAN, replaced(ی="ي", ک="ك")),
    "Persian digits": (PERSIAN + " 1403 12", lambda text: text.translate(str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹"))),
    "points": (HEBREW, inserted("\u05b8")),
    "Hebrew presentation forms": (HEBREW, lambda text: text.translate(str.maketrans(_forms(0xFB21, 0xFB29)))),
    "Korean, decomposed": (KOREAN, lambda text: unicodedata.normalize("NFD", text)),
    "ideographic variation": (JAPANESE, inserted("\U000e0100", 6)),
    "standardised variation": (CHINESE, inserted("\ufe00", 5)),
    "half-width kana": (JAPANESE, lambda text: text.translate(_HALF_WIDTH)),
    "kana, decomposed": (JAPANESE, lambda text: unicodedata.normalize("NFD", text)),
    "radicals": (CHINESE, lambda text: text.translate(_RADICALS)),
    "zero-width spaces": (THAI, inserted("\u200b")),
    "sara am": (THAI, lambda text: text.replace("\u0e33", "\u0e4d\u0e32")),
    "sara am before the tone": (THAI, lambda text: text.replace("\u0e49\u0e33", "\u0e4d\u0e49\u0e32")),
    "Thai digits": (THAI, replaced(**{"1": "๑", "2": "๒"})),
    "no yo": (RUSSIAN, replaced(ё="е")),
    "stress": (RUSSIAN, lambda text: text.replace("о", "о\u0301")),
    "Greek capitals": (GREEK, lambda text: unicodedata.normalize("NFD", text).upper().replace("\u0301", "")),
    "Turkish capitals": (TURKISH, lambda text: text.replace("i", "İ").upper()),
    "cedillas": (ROMANIAN, replaced(ș="ş", ț="ţ")),
    "soft hyphens": (ENGLISH, inserted("\u00ad", 7)),
    "word joiners": (ENGLISH, inserted("\u2060")),
    "full width": (ENGLISH, lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)),
    "ligatures": (ENGLISH, lambda text: text.replace("ffi", "ﬃ").replace("fi", "ﬁ")),
    "mathematical letters": (
        ENGLISH,
        lambda text: "".join(chr(0x1D41A + ord(c) - 97) if c.islower() else c for c in text),
    ),
    "apostrophes": (ENGLISH, lambda text: text.replace("'", "ʼ")),
    "capitals": (ENGLISH, str.upper),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_text_in_other_code_points(name: str) -> None:
    """Another string, the same words: all of its runs are found, in either direction."""
    text, rewrite = SAME[name]
    other = rewrite(text)
    assert other != text
    assert words(other) == words(text)
    assert overlap(other, ngrams(text)) == overlap(text, ngrams(other)) == 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [("é", "e"), ("й", "и"), ("ї", "і"), ("ガ", "カ"), ("長", "长"), ("كتب", "كتاب"), ("a", "а"), ("ñ", "n")],
)
def test_other_letters_stay_others(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_folding_twice_changes_nothing_more(text: str) -> None:
    """Whatever the text is; and neither does its normal form."""
    assert fold(fold(text)) == fold(text)
    for form in ("NFC", "NFD"):
        assert words(unicodedata.normalize(form, text)) == words(text)  # type: ignore[arg-type]


def test_a_letter_with_very_many_marks_is_one_with_thirty() -> None:
    """They would be ordered in quadratic time: this text would take a quarter of an hour."""
    assert fold("a" + "\u0301" * 300_000 + "\u0323" * 300_000) == fold("a" + "\u0301" * 30)

"""Encodings: declared, marked, named or detected; everything else is refused by its offset."""

from __future__ import annotations

import gzip
import random

import pytest

from cogen.text.decode import decode, known_encoding
from cogen.text.undecodable import Undecodable

#: Encodings in use for a language, and a text of about a hundred characters in it.
TEXTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Chinese": (
        "患者因发热三天入院，伴有咳嗽、咳痰。体温38.5度，血压正常。经过抗生素治疗后症状明显好转，准予出院。",
        ("gb18030", "gb2312", "hz"),
    ),
    "Chinese (traditional)": (
        "患者因發熱三天入院，伴有咳嗽、咳痰。體溫38.5度，血壓正常。經過抗生素治療後症狀明顯好轉，准予出院。",
        ("big5", "gb18030"),
    ),
    "Japanese": (
        "患者は三日間の発熱のため入院した。咳と痰を伴う。体温は38.5度、血圧は正常であった。治療で回復した。",
        ("shift_jis", "euc_jp", "iso2022_jp"),
    ),
    "Korean": (
        "환자는 삼 일간의 발열로 입원하였다. 기침과 가래를 동반하였다. 체온은 38.5도였다.",
        ("euc_kr", "cp949", "iso2022_kr"),
    ),
    "Thai": ("ผู้ป่วยเข้ารับการรักษาด้วยอาการไข้สามวัน ร่วมกับอาการไอและมีเสมหะ", ("cp874",)),
    "Arabic": ("دخل المريض إلى المستشفى بسبب الحمى لمدة ثلاثة أيام مع السعال والبلغم.", ("cp1256",)),
    "Hebrew": ("החולה אושפז בשל חום במשך שלושה ימים עם שיעול. לחץ הדם היה תקין.", ("cp1255",)),
    "Russian": ("Пациент поступил с лихорадкой в течение трёх дней, с кашлем и мокротой.", ("cp1251", "koi8_r")),
    "Greek": ("Ο ασθενής εισήχθη λόγω πυρετού τριών ημερών με βήχα. Η αρτηριακή πίεση.", ("cp1253",)),
    "French": (
        "Le patient a été admis pour une fièvre de trois jours, avec toux. Sa température était élevée; il a quitté "
        "l’hôpital après un traitement adapté, sans séquelle, et il a été revu à la clinique en février.",
        ("cp1252", "latin-1"),
    ),
    "German": (
        "Der Patient wurde wegen Fieber über drei Tage aufgenommen, mit Husten. Größere Beschwerden ließen nach.",
        ("cp1252",),
    ),
    "Polish": (
        "Pacjent został przyjęty z powodu gorączki trwającej trzy dni, z kaszlem. Ciśnienie było prawidłowe.",
        ("cp1250",),
    ),
    "Turkish": ("Hasta üç gündür süren ateş nedeniyle öksürük ile birlikte yatırıldı. Vücut sıcaklığı.", ("cp1254",)),
    "English": ("The patient was admitted with a fever of three days.", ("ascii",)),
}
CASES = [(name, encoding) for name, (_, encodings) in TEXTS.items() for encoding in encodings]
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")


@pytest.mark.parametrize(("name", "encoding"), CASES)
def test_detected(name: str, encoding: str) -> None:
    """The same text, from a file of some sentences; twice the same answer."""
    text = TEXTS[name][0].replace("’", "'") if encoding == "latin-1" else TEXTS[name][0]
    data = "\n".join([text] * 8).encode(encoding)
    found = decode(data)
    assert found.text == "\n".join([text] * 8)
    assert found.how == ("UTF-8" if name == "English" else "detected")
    assert decode(data) == found


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", UNICODE)
def test_unicode(name: str, encoding: str) -> None:
    """With a mark or without."""
    found = decode(TEXTS[name][0].encode(encoding))
    assert found.text == TEXTS[name][0]
    marked = encoding in ("utf-8-sig", "utf-16", "utf-32")
    assert found.how == ("marked" if marked else "UTF-8" if encoding == "utf-8" else "detected")


@pytest.mark.parametrize(("name", "encoding"), CASES)
def test_declared(name: str, encoding: str) -> None:
    """A few letters are enough then; what browsers read under a name is read."""
    text = TEXTS[name][0].replace("’", "'") if encoding == "latin-1" else TEXTS[name][0]
    assert decode(text[:7].encode(encoding), encoding).text == text[:7]
    assert decode("镕".encode("gb18030"), "gb2312").text == "镕"


def test_named_in_the_file() -> None:
    """By HTML, XML or Python; a wrong name is overruled by the bytes."""
    text = TEXTS["Japanese"][0]
    for head in ('<html><meta charset="shift_jis">', '<?xml version="1.0" encoding="Shift_JIS"?>', "# coding: sjis\n"):
        found = decode((head + text[:5]).encode("cp932"))
        assert (found.text, found.how) == (head + text[:5], "named")
    wrong = '<meta charset="euc-kr">' + text * 3
    assert decode(wrong.encode()).text == wrong
    assert decode(wrong.encode("cp932")).text == wrong


_LONG = TEXTS["Chinese"][0]
REFUSED: dict[str, tuple[bytes, str | None, int, str]] = {
    "not what is declared": (_LONG.encode("gb18030"), "utf-8", 0, "not utf-8"),
    "letters that were lost": ((_LONG + "\ufffd" * 400).encode(), None, len(_LONG.encode()), "U+FFFD"),
    "some that were lost": ((_LONG + "a\ufffd").encode() * 9, None, len(_LONG.encode()) + 1, "U+FFFD"),
    "first UTF-8, then not": ((_LONG + "\n").encode() * 3 + _LONG.encode("gb18030"), None, 438, "partly UTF-8"),
    "first not, then UTF-8": ((_LONG + "\n").encode("gb18030") * 30 + _LONG.encode(), None, 0, "partly UTF-8"),
    "too short to tell": ("发热三天".encode("gb18030"), None, 0, "too short to tell"),
    "a NUL byte": (b"One two\0three", None, 7, "NUL"),
    "control characters": (b"abc\x01\x02" * 50, None, 3, "characters of no text"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + random.Random(1).randbytes(5001), None, 8, "NUL"),
    "compressed": (gzip.compress(b"hello" * 1000, mtime=0), None, 3, "NUL"),
    "noise": (bytes(byte for byte in random.Random(2).randbytes(5001) if byte), None, 1, "no other encoding"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """By the offset of the first byte that shows it, with a hint."""
    data, declared, offset, message = REFUSED[name]
    with pytest.raises(Undecodable, match=message.replace("+", r"\+")) as caught:
        decode(data, declared)
    assert caught.value.offset == offset
    assert caught.value.hint


def test_one_lost_letter_in_a_long_text_is_no_reason() -> None:
    """A page about encodings has one."""
    assert decode((_LONG * 20 + "\ufffd").encode()).how == "UTF-8"


@pytest.mark.parametrize("name", ["rot13", "base64", "no-such", ""])
def test_what_is_no_encoding(name: str) -> None:
    """Named at once, when the recipe is read."""
    with pytest.raises(ValueError, match="encoding of text"):
        known_encoding(name)

"""Which encoding bytes beyond ASCII are in, by how likely the text is that each would give.

The likelihood of a text is that of its letters in the language that fits best (:mod:`cogen.text.frequent`), and of the
form of its words: no capital after a small letter, no sign inside a word, no two alphabets in one. Compared are
logarithms over all bytes, so that a difference is as certain as there is text.
"""

from __future__ import annotations

import codecs
from collections import Counter
from typing import NamedTuple

import regex

from cogen.text.frequent import ALPHABETS, CHARACTERS, LATIN, log_share

_LATIN_ENCODINGS = {
    "French German Spanish Portuguese Italian Swedish Danish Finnish Dutch Catalan Icelandic Irish Albanian": (
        "cp1252 iso8859_15 cp850 mac_roman"
    ),
    "Polish Czech Slovak Hungarian Croatian Slovene Romanian German": "cp1250 iso8859_2 cp852 mac_latin2",
    "Lithuanian Latvian Estonian Polish": "cp1257 iso8859_13 iso8859_4",
    "Turkish": "cp1254 cp857 mac_turkish",
    "Esperanto": "iso8859_3",
}
_OTHER_ENCODINGS = {
    "Russian Ukrainian Bulgarian Serbian Belarusian": "cp1251 koi8_r koi8_u iso8859_5 cp866 mac_cyrillic cp855",
    "Greek": "cp1253 iso8859_7 cp737 mac_greek",
    "Hebrew": "cp1255 iso8859_8 cp862",
    "Arabic Persian": "cp1256",
    "Arabic": "iso8859_6 cp720 mac_arabic",
    "Persian": "mac_farsi",
    "Thai": "cp874",
}
#: Encodings, the usual ones of each language first, and the languages that are written in them.
ENCODINGS: dict[str, list[str]] = {
    "gb18030": ["Chinese", "Chinese (traditional)"],
    "big5": ["Chinese (traditional)"],
    "big5hkscs": ["Chinese (traditional)"],
    "cp950": ["Chinese (traditional)"],
    "cp932": ["Japanese"],
    "euc_jp": ["Japanese"],
    "cp949": ["Korean"],
} | {
    encoding: languages.split()
    for languages, encodings in (_LATIN_ENCODINGS | _OTHER_ENCODINGS).items()
    for encoding in encodings.split()
}
#: In which the letters of right-to-left text have spaces and signs of their own, beside those of ASCII.
_OWN_SIGNS = ("mac_arabic", "mac_farsi")
_LANGUAGES = [*CHARACTERS, *ALPHABETS, *LATIN]
_OTHERS = r"\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}\p{Thai}"
_LETTER = rf"\p{{Latin}}{_OTHERS}"
#: What words do not look like, each with a logarithm of how seldom it is; below zero, of what they look like.
_SHAPES = (
    (regex.compile(r"\p{Ll}(?=\p{Lu})(?!(?<=[a-z])(?=[A-Z]))"), 5.0),
    (regex.compile(rf"(?<=[{_LETTER}])[^\x00-\x9f\p{{L}}\p{{M}}’·־״׳–—\xa0\u200c-\u200f](?=[{_LETTER}])"), 4.0),
    (regex.compile(r"(?<![\p{L}\p{M}])\p{M}"), 5.0),
    (regex.compile(rf"(?<![{_LETTER}\p{{P}}])[”†‡‰™…•¶](?=[{_LETTER}])"), 3.0),
    (regex.compile(r"(?<!\p{L})’(?=\p{Greek})"), 6.0),
    (regex.compile(r"[¶¤¦](?=\p{L}{3})"), 5.0),
    # Where all of a word is in capitals, they are no surprise.
    (regex.compile(r"(?<=\p{Lu}[_-]?)[\p{Lu}--[A-Z]]", regex.V1), -1.8),
    (regex.compile(rf"\p{{Latin}}(?=[{_OTHERS}])|[{_OTHERS}](?=\p{{Latin}})"), 4.0),
    (regex.compile(r"[ةى](?=[\p{Arabic}&&\p{L}])|[ךםןףץ](?=[א-ת])|ς(?=[\p{Greek}&&\p{L}])", regex.V1), 5.0),
)
_BEYOND = regex.compile(r"[^\x00-\x7f]")
#: Encodings that files of today are in; others are taken where they fit clearly better, by this difference.
_USUAL = {
    *("gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1252", "cp1250", "iso8859_2", "cp1257", "cp1254", "cp1251"),
    *("koi8_r", "cp1253", "cp1255", "cp1256", "cp874"),
}
_UNUSUAL = 4.0
#: Nor is German often in those of its neighbours in the east, which have all of its letters.
_OF_NEIGHBOURS = ("cp1250", "iso8859_2")
#: Logarithm of how seldom such a sign is.
_OWN_SIGN = 3.5
#: Difference of logarithms by which a line is certainly in another encoding. Few bytes are UTF-8 by accident.
_APART, _APART_UTF8 = 15.0, 12.0
#: And for a letter of it: a long line adds up small differences.
_CLEAR = 0.5
#: Letters of it that show another encoding of one byte a letter.
_ENOUGH = 4
#: Least mean of logarithms of a text, of a language with thousands of characters and of another.
_LEAST_CHARACTER, _LEAST_LETTER = -9.3, -5.0
#: Lines that are less likely than most are tried in other encodings.
_SUSPICIOUS = 1.0
#: Bytes beyond ASCII that are looked at; more tell nothing new.
_SAMPLE = 6000


class EncodingFit(NamedTuple):
    """An encoding, what it makes of a text, and how likely that is: in all, and for a character beyond ASCII."""

    encoding: str
    text: str
    total: float
    mean: float
    language: str


def fits(data: bytes) -> list[EncodingFit]:
    """Encodings in which all of the file is some text, the likely ones first; of two that give the same, one."""
    sample = _sample(data)
    found: dict[str, EncodingFit] = {}
    for encoding, languages in ENCODINGS.items():
        try:
            data.decode(encoding)
            fit = _fit(sample, encoding, languages)
        except UnicodeDecodeError:
            continue
        found.setdefault(fit.text, fit)
    return sorted(found.values(), key=lambda one: -one.total)


def expected(fit: EncodingFit) -> bool:
    """Is the text as likely as text of its language is?"""
    return fit.mean >= (_LEAST_CHARACTER if fit.language in CHARACTERS else _LEAST_LETTER)


def other_line(data: bytes, fit: EncodingFit) -> tuple[int, str] | None:
    """Offset and encoding of the first line that is far more likely in another one."""
    at = 0
    for line in data.split(b"\n"):
        if not line.isascii() and not _is_usual(line.decode(fit.encoding), fit.language):
            own = _fit(line, fit.encoding, ENCODINGS[fit.encoding])
            for encoding, languages in {"utf-8": _LANGUAGES, **ENCODINGS}.items():
                if _fits_better(line, encoding, languages, own):
                    return at, encoding
        at += len(line) + 1
    return None


def _is_usual(text: str, language: str) -> bool:
    """Is a line like others of the language? Most are; the rest is looked at more closely."""
    beyond = _BEYOND.findall(text)
    mean = sum(log_share(one, language) for one in beyond) / (len(beyond) or 1)
    least = (_LEAST_CHARACTER if language in CHARACTERS else _LEAST_LETTER) + _SUSPICIOUS
    return mean >= least and (
        language in CHARACTERS or not any(shape.search(text) for shape, cost in _SHAPES if cost > 0)
    )


def _fits_better(line: bytes, encoding: str, languages: list[str], own: EncodingFit) -> bool:
    try:
        other = _fit(line, encoding, languages)
    except UnicodeDecodeError:
        return False
    if encoding == "utf-8":
        return expected(other) and other.total > own.total + _APART_UTF8
    # The second byte of a character may be ASCII, which costs another encoding nothing.
    enough = own.language not in CHARACTERS or len(_BEYOND.findall(other.text)) >= _ENOUGH
    clear = other.total > own.total + _APART and other.mean > own.mean + _CLEAR
    return enough and clear and expected(other) and other.text != own.text


def _sample(data: bytes) -> bytes:
    """Lines from all of the file, or the beginning of a very long one, of which the last letter may be cut."""
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    size = sum(map(len, lines))
    if size <= _SAMPLE:
        return data
    longest = max(lines, key=len)
    return longest[:_SAMPLE] if len(longest) > _SAMPLE else b"\n".join(lines[:: max(1, size // _SAMPLE)])


def _fit(data: bytes, encoding: str, languages: list[str]) -> EncodingFit:
    """How likely the text of these bytes is in the best of the languages.

    :raises UnicodeDecodeError: it is none in the encoding.
    """
    text = codecs.getincrementaldecoder(encoding)().decode(data)
    beyond = _BEYOND.findall(text)
    size, counts = len(beyond) or 1, Counter(beyond)
    total, language = max((sum(n * log_share(one, name) for one, n in counts.items()), name) for name in languages)
    total -= sum(weight * len(pattern.findall(text)) for pattern, weight in _SHAPES)
    mean = total / size
    if encoding in _OWN_SIGNS:
        total -= _OWN_SIGN * (sum(byte > 0x7F for byte in data) - len(beyond))
    if (encoding not in _USUAL and encoding != "utf-8") or (language == "German" and encoding in _OF_NEIGHBOURS):
        total -= _UNUSUAL
    return EncodingFit(encoding, text, total, mean, language)

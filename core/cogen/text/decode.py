"""Bytes to text: in the encoding that is declared, or that the bytes show; never with letters replaced in silence.

What decides, in this order: a declared encoding, a byte order mark, the form of UTF-32 and UTF-16 without a mark,
the 7-bit encodings of mail, UTF-8, what the file itself names (``<meta charset>``, an XML or Python declaration), and
the likelihood of the text in each encoding (:mod:`cogen.text.fitting`), with charset-normalizer as a second opinion.
All of it depends on the bytes alone, so the same file gives the same text everywhere.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

import regex

from cogen.text.fitting import ENCODINGS, expected, fits, other_line
from cogen.text.seven_bit import hz, iso2022
from cogen.text.undecodable import CONVERT, DECLARE, Undecodable
from cogen.text.utf7 import utf7

#: Marks that begin a text, the longer ones first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Encodings that files name, and what browsers read instead: a larger set of characters under the same bytes
#: (https://encoding.spec.whatwg.org).
_WIDER = {
    "ascii": "cp1252",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}
#: Differences of logarithms of likelihood by which an encoding is certain, and by which it is if two ways agree on it.
_CERTAIN, _LIKELY = 12.0, 4.0
#: Letters replaced or controls, of a thousand: more is no text.
_GARBAGE_LIMIT = 1
_CONTROL = regex.compile(r"[\p{Cc}--[\t\n\r\f\v\x85]]|\p{Cn}|\uFFFD", regex.V1)
_OWN = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]{2,40})|\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})"
    rb"|\A(?:#[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)",
    re.I,
)


class Decoded(NamedTuple):
    """A text, the encoding of its bytes, and how that was known: "declared", "marked", "UTF-8", "named", "detected"."""

    text: str
    encoding: str
    how: str


def known_encoding(name: str) -> str:
    """The name that Python has for an encoding of text.

    :raises ValueError: unknown, or no encoding of text (``rot13``, ``base64``).
    """
    try:
        found = codecs.lookup(name)
        "".encode(found.name)
    except LookupError as error:
        raise ValueError(f"{name!r} is not an encoding of text; examples are gb18030, utf-16 and cp1252") from error
    return found.name


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """The text of a file.

    :raises Undecodable: other bytes than text, in more than one encoding, or not in the declared one.
    """
    found = _decode(data, declared)
    _check(found)
    return found


def _decode(data: bytes, declared: str | None) -> Decoded:
    if declared is not None:
        return Decoded(_strict(data, known_encoding(declared)), known_encoding(declared), "declared")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return Decoded(_strict(data, encoding), encoding, "marked")
    if found := _unmarked_wide(data):
        return found
    if (null := data.find(0)) >= 0:
        raise Undecodable("a NUL byte: this is not a text file", null, "leave it out with `exclude`")
    if found := _seven_bit(data):
        return found
    try:
        return Decoded(data.decode(), "utf-8", "UTF-8")
    except UnicodeDecodeError as error:
        first = error.start
    _check_mixed(data, first)
    own = _OWN.search(data[:2048])
    for name in own.groups() if own else ():
        try:
            if name is not None:
                encoding = known_encoding(name.decode())
                return Decoded(_strict(data, encoding), encoding, "named")
        except (ValueError, Undecodable):  # a wrong name is common; the bytes are asked
            continue
    encoding = _guess(data, first)
    return Decoded(_strict(data, encoding), encoding, "detected")


def _strict(data: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        wider = _WIDER.get(encoding)
        if wider is not None and encoding != "ascii":
            return _strict(data, wider)
        raise Undecodable(f"not {encoding.removesuffix('-sig')}", error.start, DECLARE) from error


def _unmarked_wide(data: bytes) -> Decoded | None:
    """UTF-32 or UTF-16 without a mark. Spaces, line ends and punctuation give it away: other encodings of the same
    bytes have control characters there."""
    for size, encodings in ((4, ("utf-32-le", "utf-32-be")), (2, ("utf-16-le", "utf-16-be"))):
        if len(data) % size or not data:
            continue
        for encoding in encodings:
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            plain = sum(c <= "\x7f" or "\u3000" <= c <= "\u3003" or "\uff00" <= c <= "\uff1f" for c in text)
            if plain * 100 >= len(text) and not _CONTROL.search(text) and not regex.search(r"\p{Co}", text):
                return Decoded(text, encoding, "detected")
    return None


def _seven_bit(data: bytes) -> Decoded | None:
    """Encodings of mail, whose bytes are all ASCII: ISO-2022, HZ and UTF-7. As ASCII they would be rubbish."""
    if found := iso2022(data):
        return Decoded(*found, "detected")
    for encoding, read in (("hz", hz), ("utf-7", utf7)):
        text = read(data)
        if text is not None:
            return Decoded(text, encoding, "detected")
    return None


def _check_mixed(data: bytes, first: int) -> None:
    """Refuse a file that is partly UTF-8: a wrong guess for the rest would make letters of it."""
    text = data.decode(errors="replace")
    replaced = text.count("\ufffd")
    letters = sum(character > "\x7f" for character in text) - replaced
    if 2 * letters > replaced or any(map(_utf8_line, data.split(b"\n"))):
        raise Undecodable(
            "partly UTF-8 and partly not", first, "convert the file to one encoding, or leave it out with `exclude`"
        )


def _utf8_line(line: bytes) -> bool:
    """A line whose letters beyond ASCII are UTF-8: four of them by accident are out of the question."""
    try:
        return sum(character > "\u07ff" for character in line.decode()) >= 4
    except UnicodeDecodeError:
        return False


def _guess(data: bytes, first: int) -> str:
    """The encoding that the letters show: far more likely than any other, or somewhat, and charset-normalizer's, too.

    :raises Undecodable: no encoding gives usual text, several do, or some lines are in another one.
    """
    found = fits(data)
    if not found or not expected(found[0]):
        raise Undecodable("not UTF-8, and no other encoding fits", first, DECLARE)
    best = found[0]
    near = [fit.encoding for fit in found[1:] if fit.total > best.total - _CERTAIN]
    if near:
        close = [fit for fit in found[1:] if fit.total > best.total - _LIKELY]
        if close or not _second_opinion(data, best.encoding):
            names = ", ".join(sorted({best.encoding, *near[:5]}))
            raise Undecodable(f"not UTF-8, and too short to tell {names} apart", first, DECLARE)
    if other := other_line(data, best):
        offset, encoding = other
        raise Undecodable(f"a line in {encoding} between others in {best.encoding}", offset, CONVERT)
    return best.encoding


def _second_opinion(data: bytes, encoding: str) -> bool:
    """Does charset-normalizer read the same?"""
    from charset_normalizer import from_bytes

    found = from_bytes(data, cp_isolation=list(ENCODINGS)).best()
    return found is not None and str(found) == data.decode(encoding)


def _check(found: Decoded) -> None:
    """Refuse a text in which letters were lost before, or that is none."""
    strange = list(_CONTROL.finditer(found.text))
    if len(strange) < 2 or 1000 * len(strange) <= _GARBAGE_LIMIT * len(found.text):
        return
    first = strange[0]
    encoding = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(found.encoding, found.encoding)
    offset = len(found.text[: first.start()].encode(encoding, errors="replace"))
    share = len(strange) / len(found.text)
    replaced = sum(match[0] == "\ufffd" for match in strange)
    what = "U+FFFD, letters that an earlier program lost" if 2 * replaced > len(strange) else "characters of no text"
    raise Undecodable(
        f"{share:.1%} of it are {what}",
        offset,
        DECLARE if found.how == "detected" else "take the file before it was damaged, or leave it out with `exclude`",
    )

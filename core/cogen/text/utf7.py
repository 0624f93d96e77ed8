"""UTF-7 (RFC 2152), whose bytes are all ASCII: letters beyond ASCII stand as base64 between ``+`` and ``-``.

As ASCII it would be rubbish that no check of encodings sees. But a plus sign before a word is ordinary text, too, and
some words are valid base64 of a Chinese character. What tells is what the sequences give: several common letters of one
script are out of the question by accident. Where there are some and the rest does not fit, the file is refused.
"""

from __future__ import annotations

import binascii
import re

import regex

from cogen.text.frequent import is_common
from cogen.text.undecodable import CONVERT, DECLARE, Undecodable

_SEQUENCE = re.compile(rb"\+([A-Za-z0-9+/]*)(-?)")
#: What looks like a word or a number, as base64 seldom does.
_WORD = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
#: Letters of Latin scripts, and the signs of prose: accents, quotation marks, dashes, the euro.
_LATIN = re.compile(r"[\xa0-\u024f\u1e00-\u1eff\u2010-\u203a\u20ac]+")
_SIGN = r"\u0020-\u0040\u00a0-\u024f\u2010-\u203e\u20ac\u2100-\u22ff\u3000-\u303f\uff00-\uff65"
#: Letters of one script, or of scripts that one language mixes, with signs between them.
_SCRIPTS = [
    regex.compile(rf"[{_SIGN}{letters}]*")
    for letters in (
        *(r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc", r"\p{Hangul}\p{Han}", r"\p{Cyrillic}", r"\p{Greek}", r"\p{Arabic}"),
        *(
            r"\p{Hebrew}",
            r"\p{Thai}",
            r"\p{Devanagari}",
            r"\p{Armenian}",
            r"\p{Georgian}",
            r"\p{Bengali}",
            r"\p{Tamil}",
        ),
    )
]
#: Sequences in sum that no other text has.
_SEQUENCES = 3
#: Letters of another script than Latin in a sequence: the base64 of one is three letters, as any word.
_LETTERS = 2
#: Such letters in sum that no other text has.
_ENOUGH = 12


def utf7(data: bytes) -> str | None:
    """The text of a file in UTF-7; ``None``: it is something else.

    :raises Undecodable: some of it is UTF-7, and some is not.
    """
    if b"+" not in data or not data.isascii():
        return None
    wrong: list[int] = []
    latin: list[bytes] = []
    certain: list[tuple[int, int]] = []
    for match in _SEQUENCE.finditer(data):
        if match[0] == b"+-":
            continue
        text = _base64(match[1])
        if text and _LATIN.fullmatch(text):
            latin.append(match[1])
        elif text and any(script.fullmatch(text) for script in _SCRIPTS):
            if not _WORD.fullmatch(match[1]) and (letters := _common(text)) >= _LETTERS:
                certain.append((match.start(), letters))
        else:
            wrong.append(match.start())
    sequences = len(certain)
    if any(not _WORD.fullmatch(one) for one in latin) or len(set(latin)) >= _SEQUENCES:
        sequences += len(latin)
    if sequences >= _SEQUENCES or sum(letters for _, letters in certain) >= _ENOUGH:
        if not wrong:
            return _whole(data)
        if len(wrong) <= sequences:
            raise Undecodable("UTF-7, but not all of it", wrong[0], CONVERT)
    elif certain and not wrong and not data[: certain[0][0]][-1:].isalnum():  # inside of a word it is base64
        raise Undecodable("UTF-7 or ASCII with plus signs: too little to tell", certain[0][0], DECLARE)
    return None


def _whole(data: bytes) -> str:
    try:
        return data.decode("utf-7")
    except UnicodeDecodeError as error:
        raise Undecodable("UTF-7, but not all of it", error.start, CONVERT) from error


def _base64(sequence: bytes) -> str | None:
    """What a sequence stands for: whole UTF-16 letters, and no bit set beyond them."""
    spare = len(sequence) * 6 % 16
    if not sequence or spare >= 6:
        return None
    raw = binascii.a2b_base64(sequence + b"A" * (-len(sequence) % 4))
    size = len(sequence) * 6 // 16 * 2
    try:
        return None if any(raw[size:]) else raw[:size].decode("utf-16-be")
    except UnicodeDecodeError:
        return None


def _common(text: str) -> int:
    """Number of letters; 0 where more than a fifth of them are rare in their script: random bits are."""
    letters = [one for one in text if one.isalpha()]
    return len(letters) if 5 * sum(map(is_common, letters)) >= 4 * len(letters) else 0

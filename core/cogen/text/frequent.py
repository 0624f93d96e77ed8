"""Letters that are frequent in a language or a script: what tells a text from one that was read in a wrong encoding."""

from __future__ import annotations

from functools import lru_cache

#: Encodings of the languages that share them, and the lead bytes of the characters that make up nearly all of any text:
#: level 1 of GB 2312, of Big5 and of JIS X 0208.
_LEVELS = (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6), ("euc_jp", 0xB0, 0xCF))


@lru_cache(maxsize=1 << 14)
def is_common(letter: str) -> bool:
    """Is it one of the usual letters of its script? Of Chinese characters level 1, of Hangul what KS X 1001 has."""
    if "\uac00" <= letter <= "\ud7a3":
        return _code(letter, "euc_kr") > 0
    if "\u3400" <= letter <= "\u9fff":
        return any(first <= _code(letter, encoding) <= last for encoding, first, last in _LEVELS)
    return not ("\ue000" <= letter <= "\uffff" or letter > "\U0000ffff")


def _code(letter: str, encoding: str) -> int:
    """The lead byte; 0 where the encoding has no such letter, in two bytes."""
    code = letter.encode(encoding, errors="ignore")
    return code[0] if len(code) == 2 else 0

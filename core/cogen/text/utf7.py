"""UTF-7 (RFC 2152), whose bytes are all ASCII: letters beyond ASCII stand as base64 between ``+`` and ``-``.

As ASCII it would be rubbish that no check of encodings sees. But a plus sign before a word is ordinary text, too, and
some words are valid base64 of a Chinese character. So it is UTF-7 only where every plus sign of the file begins a valid
sequence, and what these give is text: a few Latin letters and signs, or a good part of the file in one script.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SEQUENCE = re.compile(rb"\+(?:-|[A-Za-z0-9+/]{3,}-?)")
#: What looks like a word or a number, as base64 seldom does.
_WORD = re.compile(rb"\+(?:[A-Z]?[a-z]+|[0-9]+)-?")
#: Letters of Latin scripts, and the signs of prose: accents, quotation marks, dashes, the euro.
_LATIN = re.compile(r"[\xa0-\u024f\u1e00-\u1eff\u2010-\u203a\u20ac]+")
#: Latin sequences, letters of another script, and the share of the file's bytes that those take: below, it is ASCII.
_SEQUENCES, _LETTERS, _SHARE = 3, 24, 0.3
#: First words of the Unicode names of letters that one text mixes.
_TOGETHER = ({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}, {"CJK", "HANGUL"})


def utf7(data: bytes) -> str | None:
    """The text of a file in UTF-7; ``None``: it is something else."""
    if b"+" not in data or not data.isascii():
        return None
    sequences = [one for one in _SEQUENCE.findall(data) if one != b"+-"]
    if not sequences or b"+" in _SEQUENCE.sub(b"", data):
        return None
    try:
        text, inside = data.decode("utf-7"), b"".join(one.rstrip(b"-") + b"-" for one in sequences).decode("utf-7")
    except UnicodeDecodeError:
        return None
    if _LATIN.fullmatch(inside):
        return text if len(sequences) >= _SEQUENCES else None
    letters = [one for one in inside if unicodedata.category(one)[0] in "LM"]
    strange = any(unicodedata.category(one) in ("Cc", "Cn", "Co", "Cs") for one in inside)
    worded = sum(len(one) for one in sequences if _WORD.fullmatch(one))
    strange = strange or 2 * worded > sum(map(len, sequences))
    enough = len(letters) >= _LETTERS and sum(map(len, sequences)) >= _SHARE * len(data)
    return text if enough and not strange and _one_script(letters) else None


def _one_script(letters: list[str]) -> bool:
    """Nine of ten are of one script, or of scripts that one language mixes."""
    found = Counter(unicodedata.name(one, "?").partition(" ")[0] for one in letters)
    groups = [{name} for name in found] + list(_TOGETHER)
    return any(10 * sum(found[name] for name in group) >= 9 * len(letters) for group in groups)

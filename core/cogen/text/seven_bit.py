"""ISO-2022 and HZ, encodings of mail whose bytes are all ASCII: as ASCII they would be rubbish that no check sees.

Both name themselves by marks. A file that has them and is no valid text of the encoding is refused, since what it
would be as ASCII is certainly wrong: cut in the middle, damaged, or of a kind that Python cannot read.
"""

from __future__ import annotations

import re

from cogen.text.undecodable import CONVERT, DECLARE, Undecodable

#: What designates a set of two-byte characters, half-width kana or JIS's Latin letters (ISO 2022; RFC 1468, 1554, 1557,
#: 1922). No terminal sends the first, and no text has it by accident.
_DESIGNATION = re.compile(rb"\x1b(?:\$[@AB]|\$[(-/][0-~]|\([IJ])")
_KOREAN = b"\x1b$)C"
#: Each reads what the one before it cannot, and the rest as it does: ISO-2022-JP with Greek and GB 2312, with
#: half-width kana, and the JIS X 0213 of 2000 and of 2004.
_JAPANESE = ("iso2022_jp_2", "iso2022_jp_ext", "iso2022_jp_3", "iso2022_jp_2004")
#: GB 2312 after ``~{`` (RFC 1843) and before ``~}``, two bytes a letter.
_HZ = re.compile(rb"~\{((?:[\x21-\x77][\x21-\x7e])*)")
#: Pairs of letters, and of them per cent in the rows of common characters and punctuation: more is Chinese.
_PAIRS, _COMMON = 4, 70


def iso2022(data: bytes) -> tuple[str, str] | None:
    """Text and encoding of a file with designations of ISO 2022; ``None``: it has none.

    :raises Undecodable: the rest of it is something else.
    """
    first = _DESIGNATION.search(data)
    if first is None:
        return None
    if not data.isascii():
        raise Undecodable("escape sequences of ISO-2022 between bytes of another encoding", first.start(), CONVERT)
    errors: list[UnicodeDecodeError] = []
    for encoding in ("iso2022_kr",) if _KOREAN in data else _JAPANESE:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError as error:
            errors.append(error)
    last = max(errors, key=lambda error: error.start)
    raise Undecodable("escape sequences of ISO-2022, but no valid text in it", last.start, CONVERT)


def hz(data: bytes) -> str | None:
    """The text of a file in HZ; ``None``: it is something else.

    :raises Undecodable: HZ that is cut or damaged.
    """
    if b"~{" not in data or not data.isascii():
        return None
    rows = b"".join(_HZ.findall(data))[::2]
    common = sum(0x30 <= row <= 0x57 or row in (0x21, 0x23) for row in rows)
    likely = bool(rows) and 100 * common >= _COMMON * len(rows)
    if not likely:
        return None
    try:
        return data.decode("hz")
    except UnicodeDecodeError as error:
        offset = error.start
    if len(rows) < _PAIRS:
        return None
    raise Undecodable("Chinese in HZ that is cut or damaged", offset, DECLARE.replace("gb18030", "hz"))

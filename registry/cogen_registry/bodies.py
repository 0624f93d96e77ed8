"""Bodies of JSON from strangers: how much a reader would make of one is known before it is read.

JSON of three bytes can become an object of sixty, a nested one ends a reader that calls itself, and PostgreSQL takes
no NUL. All of that is counted in one pass over the bytes, in time that is linear in their number.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cogen_registry.errors import Refused

#: Of the API's bodies: depth, values of all kinds, members of one object, digits of a number.
DEPTH, VALUES, DIGITS = 64, 1_000_000, 400
_HINT = "see /docs for what is expected"
# Possessive: neither a string that never ends nor one of backslashes alone is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_PLAIN = re.compile(rb"[^\[\]{},]++")
_SPECIAL = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_LONG = re.compile(rb"\d{%d}" % (DIGITS + 1))


def check_json(data: bytes, *, depth: int = DEPTH, values: int = VALUES, texts: bool = True) -> None:
    """Refuse JSON that is deeper or has more values than it may, or with ``texts`` a text that can't be stored.

    Whether it is JSON at all is the business of whoever reads it.

    :raises Refused: 400, 413
    """
    bones = _STRING.sub(b"", data)
    if _LONG.search(bones):
        raise Refused(400, f"the body has a number of more than {DIGITS} digits", hint=_HINT)
    bones = _PLAIN.sub(b"", bones)
    if _deep(bones, depth):
        raise Refused(400, f"the body is nested deeper than {depth} levels", hint=_HINT)
    if len(bones) > 2 * values:
        raise Refused(413, f"the body has more than {values:,} values", hint="send less at a time")
    if texts and (b"\0" in data or (_SPECIAL.search(data) and not _storable(data))):
        raise Refused(400, "the body holds a text with NUL or half a surrogate, which cannot be stored", hint=_HINT)


def _deep(bones: bytes, most: int) -> bool:
    """Whether brackets are nested deeper than ``most``."""
    import numpy as np

    if bones.count(b"[") + bones.count(b"{") <= most:
        return False
    codes = np.frombuffer(bones, np.uint8)
    opened = (codes == ord("[")) | (codes == ord("{"))
    closed = (codes == ord("]")) | (codes == ord("}"))
    return bool(np.max(np.cumsum(opened.astype(np.int32) - closed.astype(np.int32)), initial=0) > most)


def _storable(data: bytes) -> bool:
    """Looks at every text of a body that may hold one that can't be stored; not JSON: somebody else says so."""
    from cogen_registry.failures import is_text

    try:
        left: list[Any] = [json.loads(data)]
    except (ValueError, RecursionError):
        return True
    while left:
        value = left.pop()
        if isinstance(value, str) and not is_text(value):
            return False
        if isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, list):
            left += value
    return True

"""One reader of JSON that others wrote: UTF-8, of bounded size and depth, and every value one that JSON has.

Python's own reader also takes ``NaN``, ``Infinity``, ``1e999``, numbers of thousands of digits, halves of surrogate
pairs (text that no file can hold) and UTF-16, and its depth depends on who calls it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: Arrays and objects in each other.
DEPTH = 64
#: Bytes of a text, unless a caller has a limit of its own.
LIMIT = 64 << 20
#: Whole numbers are those of 64 bits, which other readers take as well; the longest has 20 characters.
_DIGITS, _LARGEST = 20, 1 << 63
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes, *, limit: int = LIMIT, any_number: bool = False) -> Any:
    """The value of a JSON text.

    :param limit: of bytes, or characters.
    :param any_number: also take NaN, Infinity and whole numbers beyond 64 bits, where the caller names their place.
    :raises ValueError: it is not JSON, or beyond what the module says; the message says why, in one line.
    """
    if len(text) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not UTF-8 (byte {error.start})") from None
    text = text.removeprefix("\ufeff")
    try:
        value = json.loads(
            text,
            parse_int=int if any_number else _integer,
            parse_float=float if any_number else _float,
            parse_constant=float if any_number else _constant,
        )
        _check_depth(value)
        if _HALF.search(text):
            _check_texts(value)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEPTH} deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:
        # Python's own limit of digits: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
        raise ValueError("a number of thousands of digits" if "int_max_str" in str(error) else str(error)) from None
    return value


def parse_object(text: str | bytes, *, limit: int = LIMIT, any_number: bool = False) -> dict[str, Any]:
    """As :func:`parse_json`, of a text that holds an object.

    :raises ValueError: also where it holds another value.
    """
    value = parse_json(text, limit=limit, any_number=any_number)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits.lstrip('-')):,} digits")
    value = int(digits)
    if not -_LARGEST <= value < 2 * _LARGEST:
        raise ValueError(f"a whole number beyond 64 bits: {digits}")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"a number that is too large: {digits[:20]}")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = [one for one in inner if isinstance(one, dict | list)]
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")


def _check_texts(value: Any) -> None:
    """:raises ValueError: a name or a text with half a surrogate pair, which has no bytes."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError:
                raise ValueError("a text with half a surrogate pair") from None
        elif isinstance(one, dict):
            left.extend(one)
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)

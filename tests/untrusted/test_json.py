"""JSON and JSON Lines of others: one value or one line that says why not, whatever Python's own reader does with it."""

from __future__ import annotations

import json

import pytest

from cogen.errors import EvalError, SpecError
from cogen.untrusted.json_lines import json_lines, text_lines
from cogen.untrusted.json_text import DEPTH, parse_json, parse_object

#: Name → (text, what the error says).
REFUSED = {
    "NaN": ("[NaN]", "NaN is not JSON"),
    "Infinity": ('{"a": -Infinity}', "-Infinity is not JSON"),
    "a float that is infinite": ("[1e999]", "a number that is too large: 1e999"),
    "5,000 digits": (f'{{"a": {"9" * 5000}}}', "a number of 5,000 digits"),
    "64 bits and one": (str(1 << 64), "a whole number beyond 64 bits"),
    "half a pair in a value": (r'["\ud800"]', "half a surrogate pair"),
    "half a pair in a name": (r'{"\uDC00x": 1}', "half a surrogate pair"),
    "half a pair deep inside": (r'{"a": [{"b": "x\udfff"}]}', "half a surrogate pair"),
    "one too deep": ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), f"nested more than {DEPTH} deep"),
    "far too deep": ("[" * 100_000, f"nested more than {DEPTH} deep"),
    "cut off": ('{"a": ', "not JSON: Expecting value at character 7"),
    "nothing": ("", "not JSON"),
    "a control character": ('["a\x01"]', "not JSON"),
    "two values": ("1 2", "not JSON: Extra data"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refused(text: str, reason: str) -> None:
    """As text and as bytes; the reason is one printable line of bounded length."""
    for form in (text, text.encode()):
        with pytest.raises(ValueError, match=reason) as caught:
            parse_json(form)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 120


@pytest.mark.parametrize("text", ["utf-16", "utf-32", "latin-1"])
def test_other_encodings(text: str) -> None:
    """Python's reader guesses UTF-16 and UTF-32; a file that one reader takes and another does not is two files."""
    with pytest.raises(ValueError, match=r"not UTF-8|not JSON"):
        parse_json('["é"]'.encode(text))


def test_what_is_read() -> None:
    """A byte order mark is passed over; a whole pair is one character; the largest numbers of 64 bits are read."""
    assert parse_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_json('\ufeff["\u2028"]') == ["\u2028"]
    assert parse_json(f"[{-(1 << 63)}, {(1 << 64) - 1}]") == [-(1 << 63), (1 << 64) - 1]
    deepest = "[" * DEPTH + "]" * DEPTH
    assert json.dumps(parse_json(deepest)) == deepest
    assert parse_json("[1.5, 1e308, true, null]") == [1.5, 1e308, True, None]


def test_size() -> None:
    """The limit is looked at before anything is read."""
    with pytest.raises(ValueError, match="larger than 3 bytes"):
        parse_json("[1, 2]", limit=3)


def test_objects_alone() -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_object("[]")


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x7f", "\x9f"])
def test_characters_that_other_readers_cut_at(end: str) -> None:
    """A JSON string may hold them as they are."""
    content = json.dumps({"text": f"one{end}two"}, ensure_ascii=False).encode() + b"\n"
    assert text_lines(content, "a file") == [f"one{end}two"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    """With a byte order mark, a blank line and no end at the last line."""
    content = f'\ufeff{{"text": "a"}}{end}{end} {end}{{"text": "b"}}'.encode()
    assert list(json_lines(content, "x")) == [(1, {"text": "a"}), (4, {"text": "b"})]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"text": "a"}\n{"txt": "b"}', "x line 2 has no text in the field 'text'"),
        (b'{"text": 1}', "x line 1 has no text"),
        (b'{"text": " "}', "x line 1 has no text"),
        (b'["a"]', "x line 1: it is not a JSON object"),
        (b'{"text": "a"}\n\xff', "x line 2 is not UTF-8"),
        (b'{"text": "\\ud800"}', "x line 1: a text with half a surrogate pair"),
        (b"\n\n", "x holds no text"),
        (b"", "x holds no text"),
        (b'{"text": "a"', "x line 1: it is not JSON"),
    ],
)
def test_texts(content: bytes, reason: str) -> None:
    """Every error names file and line, is of the class that the caller wants, and shows nothing of the text."""
    for kind in (SpecError, EvalError):
        with pytest.raises(kind) as caught:
            text_lines(content, "x", error=kind)
        assert caught.value.message.startswith(reason)
        assert caught.value.hint

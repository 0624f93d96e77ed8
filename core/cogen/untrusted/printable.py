"""Text of others as a terminal may show it: it obeys nothing that stands in it.

Escape sequences move the cursor, change the title or answer for the user; C1 characters begin the same sequences with
one byte; bidi controls show a name in another order than it has (https://trojansource.codes). All of them, and what no
font shows, become a space.
"""

from __future__ import annotations

#: What is not printable and harmless: tabs, and what joins letters of some scripts.
_HARMLESS = frozenset("\t\u200c\u200d")


def printable(text: object) -> str:
    """Of one or more lines; line feeds stay."""
    text = str(text)
    if is_printable(text):
        return text
    return "".join(c if c.isprintable() or c == "\n" or c in _HARMLESS else " " for c in text)


def one_line(text: object, most: int | None = None) -> str:
    """On one line, white space drawn together: nothing of it can pass for another message.

    :param most: characters to keep.
    """
    return " ".join(printable(text).split())[:most]


def is_printable(text: str) -> bool:
    """Does nothing of it, but line feeds, have to be replaced?"""
    return all(line.isprintable() for line in text.split("\n"))


def escape_json(text: str) -> str:
    """A JSON text with the same characters written by their numbers: whoever parses it notices nothing."""
    return text if is_printable(text) else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char.isprintable() or char == "\n":
        return char
    code = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))

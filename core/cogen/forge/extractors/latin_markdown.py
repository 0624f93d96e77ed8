"""Prose of Markdown. Every step takes time in proportion to the text, whatever is opened in it and never closed."""

from __future__ import annotations

import re
from bisect import bisect_left

from cogen.forge.extractors.member import Pieces, SourceFile

_FRONT = re.compile(r"\A---\n.*?\n---\n", re.S)
_FENCE = re.compile(r"^(?:```|~~~|:::)", re.M)
_CLOSED = {mark: re.compile(rf"^{mark}\s*$", re.M) for mark in ("```", "~~~", ":::")}
_TAG = re.compile(r"<|!\[")
_NOISE = re.compile(r"\s*\||\s{4,}\S|\s*[-=*_]{3,}\s*$|\s*(!!!|\?\?\?|===|--8<--)")
#: The first white space gives nothing back, and a title ends with no space: each run of spaces is read once.
_HEADING = re.compile(r"^#{1,6}\s*+((?:.*?\S)??)\s*#*$", re.M)
_EMPHASIS = re.compile(r"[*_`]{1,3}([^*_`\n]+)[*_`]{1,3}")


def markdown(member: SourceFile) -> Pieces:
    text = _without_fences(_FRONT.sub("", member.text))
    text = _links_as_text(_without_tags(text))
    text = "\n".join(line for line in text.split("\n") if not _NOISE.match(line))
    yield member.name, _EMPHASIS.sub(r"\1", _HEADING.sub(r"\n\1\n", text))


class _Ahead:
    """Where marks stand next in a text. Asked from left to right, all answers for one mark take one pass."""

    def __init__(self, text: str) -> None:
        self._text, self._found = text, dict[str, int]()
        self.end = len(text)

    def find(self, mark: str, start: int) -> int:
        """The first one at ``start`` or later; ``end`` if there is none. Never before the last ``start``."""
        found = self._found.get(mark, -1)
        if found < start:
            found = self._text.find(mark, start)
            self._found[mark] = found = self.end if found < 0 else found
        return found


def _without_fences(text: str) -> str:
    """Without blocks from a fence at the beginning of a line to the next line that is the same fence alone."""
    closed = {mark: [found.span() for found in pattern.finditer(text)] for mark, pattern in _CLOSED.items()}
    kept, place = list[str](), 0
    for found in _FENCE.finditer(text):
        after = closed[found[0]]
        number = bisect_left(after, (found.end(),))
        if found.start() >= place and number < len(after):
            kept += [text[place : found.start()], "\n"]
            place = after[number][1]
    return "".join([*kept, text[place:]])


def _without_tags(text: str) -> str:
    """Without comments, images and tags."""
    ahead, kept, place = _Ahead(text), list[str](), 0
    for found in _TAG.finditer(text):
        start = found.start()
        if start < place:
            continue
        stop = _image_end(text, ahead, start) if found[0] == "![" else _tag_end(text, ahead, start)
        if stop is not None:
            kept.append(text[place:start])
            place = stop
    return "".join([*kept, text[place:]])


def _image_end(text: str, ahead: _Ahead, start: int) -> int | None:
    """Of ``![title](address)``."""
    close = ahead.find("]", start + 2)
    if not text.startswith("(", close + 1):
        return None
    stop = ahead.find(")", close + 2)
    return stop + 1 if stop < ahead.end else None


def _tag_end(text: str, ahead: _Ahead, start: int) -> int | None:
    """Of a comment, or of a tag on one line."""
    if text.startswith("<!--", start) and (stop := ahead.find("-->", start + 4)) < ahead.end:
        return stop + 3
    stop = ahead.find(">", start + 1)
    return stop + 1 if start + 1 < stop < ahead.find("\n", start + 1) else None


def _links_as_text(text: str) -> str:
    """``[text](address)`` and ``[text][name]`` as their text."""
    closing, ending, kept, place = _Ahead(text), _Ahead(text), list[str](), 0
    for found in re.finditer(r"\[", text):
        start = found.start()
        if start < place:
            continue
        close = closing.find("]", start + 1)
        mark = {"(": ")", "[": "]"}.get(text[close + 1 : close + 2])
        stop = closing.end if mark is None else ending.find(mark, close + 2)
        if stop < closing.end:
            kept += [text[place:start], text[start + 1 : close]]
            place = stop + 1
    return "".join([*kept, text[place:]])

"""The syntax of the regular expressions that :mod:`cogen.checkpoints.patterns` matches, a subset of Python's."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

#: Characters of a pattern, groups in groups, and instructions that it may become.
_LONGEST, _DEEPEST, _LARGEST = 2000, 20, 2000
_CLASS = re.compile(r"\[\^?(?:[\w.,:/ -]|\\[dwsDWS]|\\[^\w\s])+\]")
_KIND = re.compile(r"\\[dwsDWS]")
_ESCAPED = re.compile(r"\\([^\w]|_)")
_REPEAT = re.compile(r"[*+?]|\{(\d{0,4})(,?)(\d{0,4})\}")
_LITERAL = re.compile(r"[^\\\[\](){}*+?|^$.]")

Test = Callable[[str], bool]


class Unsupported(ValueError):
    """A pattern that is damaged, or not of the subset. ``pattern``: which one, where it is known."""

    pattern = ""

    def of(self, pattern: str) -> Unsupported:
        self.pattern = self.pattern or pattern
        return self


@dataclass(frozen=True)
class Instruction:
    """``char``: takes one character that passes the test. ``split``: goes on at every target. ``start``, ``end``: goes
    on at the start or end of the text. ``match``: done."""

    kind: str
    test: Test | None = None
    targets: tuple[int, ...] = ()

    def takes(self, letter: str) -> bool:
        return self.test is not None and self.test(letter)


Program = list[Instruction]


@dataclass(frozen=True)
class _Node:
    """``char``, ``start``, ``end``, ``cat``, ``alt`` or ``repeat`` (``low`` to ``high`` times; ``None``: no limit)."""

    kind: str
    test: Test | None = None
    parts: tuple[_Node, ...] = ()
    low: int = 0
    high: int | None = None

    def may_be_empty(self) -> bool:
        if self.kind == "alt":
            return any(part.may_be_empty() for part in self.parts)
        if self.kind == "repeat":
            return self.low == 0  # what it repeats is never empty
        return self.kind != "char" and all(part.may_be_empty() for part in self.parts)


def compile_pattern(text: str) -> Program:
    """The program of a pattern for a whole text.

    :raises Unsupported: it is not of the subset, or too large.
    """
    if len(text) > _LONGEST:
        raise Unsupported(f"is longer than {_LONGEST} characters")
    parser = _Parser(text)
    node = parser.alternatives(0)
    if parser.at < len(text):
        raise Unsupported("has a bracket too many")
    program: Program = []
    _emit(node, program)
    program.append(Instruction("match"))
    return program


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def alternatives(self, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise Unsupported("has groups that are nested too deeply")
        choices = [self._sequence(depth)]
        while self._next("|"):
            choices.append(self._sequence(depth))
        return choices[0] if len(choices) == 1 else _Node("alt", parts=tuple(choices))

    def _sequence(self, depth: int) -> _Node:
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self._repeated(self._atom(depth)))
        return _Node("cat", parts=tuple(parts))

    def _next(self, text: str) -> bool:
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def _atom(self, depth: int) -> _Node:
        if self._next("("):
            if not self._next("?:") and self._next("?"):
                raise Unsupported("has a look-around, a flag, or a name of a group")
            inner = self.alternatives(depth + 1)
            if not self._next(")"):
                raise Unsupported("has a bracket that is not closed")
            return inner
        if self._next("^"):
            return _Node("start")
        if self._next("$"):
            return _Node("end")
        if self._next("."):
            return _Node("char", lambda letter: letter != "\n")
        if found := self._match(_KIND) or self._match(_CLASS):
            return _Node("char", _class(found[0]))
        if found := self._match(_ESCAPED):
            return _Node("char", found[1].__eq__)
        if found := self._match(_LITERAL):
            return _Node("char", found[0].__eq__)
        if self.text[self.at] in "*+?{":
            raise Unsupported("repeats nothing")
        raise Unsupported(f"has {self.text[self.at]!a} where it is damaged or not supported")

    def _repeated(self, node: _Node) -> _Node:
        found = self._match(_REPEAT)
        if found is None:
            return node
        if node.may_be_empty():
            raise Unsupported("repeats what may be empty")
        low, high = _bounds(found)
        self._next("?")  # which of several matches is found first does not matter
        if self._match(_REPEAT):
            raise Unsupported("has one repeat behind another")
        return _Node("repeat", parts=(node,), low=low, high=high)


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    if found[0] in "*+?":
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[0]]
    low, comma, high = found.groups()
    if not low and not high:
        raise Unsupported("has braces without a number")
    least = int(low or 0)
    most = (int(high) if high else None) if comma else least
    if (not comma and high) or (most is not None and most < least):
        raise Unsupported("has a repeat whose least number is above its greatest")
    return least, most


def _class(text: str) -> Test:
    """One character of a class, by Python's own engine."""
    if "--" in text:
        raise Unsupported("has two hyphens in a class")
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise Unsupported(f"has a damaged class: {error.msg}") from error
    return functools.lru_cache(256)(lambda letter: compiled.fullmatch(letter) is not None)


def _emit(node: _Node, program: Program) -> None:
    if len(program) > _LARGEST:
        raise Unsupported("is too large, counted repeats included")
    if node.kind in ("char", "start", "end"):
        program.append(Instruction(node.kind, node.test))
    elif node.kind == "cat":
        for part in node.parts:
            _emit(part, program)
    elif node.kind == "alt":
        _emit_choices(node.parts, program)
    else:
        _emit_repeat(node, program)


def _emit_choices(parts: tuple[_Node, ...], program: Program) -> None:
    split = len(program)
    program.append(Instruction("split"))
    starts, ends = [], []
    for part in parts:
        starts.append(len(program))
        _emit(part, program)
        ends.append(len(program))
        program.append(Instruction("split"))
    program[split] = Instruction("split", targets=tuple(starts))
    for end in ends:
        program[end] = Instruction("split", targets=(len(program),))


def _emit_repeat(node: _Node, program: Program) -> None:
    inner = node.parts[0]
    for _ in range(node.low):
        _emit(inner, program)
    if node.high is None:
        split = len(program)
        program.append(Instruction("split"))
        _emit(inner, program)
        program.append(Instruction("split", targets=(split,)))
        program[split] = Instruction("split", targets=(split + 1, len(program)))
        return
    splits = []
    for _ in range(node.high - node.low):
        splits.append(len(program))
        program.append(Instruction("split"))
        _emit(inner, program)
    for split in splits:
        program[split] = Instruction("split", targets=(split + 1, len(program)))

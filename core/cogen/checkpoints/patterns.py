"""Regular expressions of strangers, matched in linear time: the patterns of ``rank_pattern`` and ``alpha_pattern``.

peft tries ``re.match(rf"(.*\\.)?({pattern})$", module)`` for one pattern after the other. Python's engine goes back and
tries again, which takes exponential time for some patterns. Here a pattern is a set of states that advances character
by character (Thompson 1968, https://doi.org/10.1145/363347.363387), and the answer is the same: what is accepted
describes a regular language, for which there is one answer, whatever the order of trying.

Accepted: characters, ``.``, classes, ``\\d \\w \\s``, groups, ``|``, ``^``, ``$``, and ``* + ? {m,n}`` behind what is
never empty. Not accepted: look-around, back references, flags, ``\\b``, possessive repeats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cogen.checkpoints.pattern_syntax import Program, Unsupported, compile_pattern

#: Steps for all names and patterns of one table: a second or two.
STEPS = 2_000_000
#: A name, perhaps with escaped characters, perhaps anchored at the start: most patterns are.
_PLAIN = re.compile(r"(\^?)((?:[A-Za-z0-9_.-]|\\[.-])*)")
_ITEM = re.compile(r"\\?.")

__all__ = ["STEPS", "Patterns", "Unsupported"]


@dataclass
class _Budget:
    left: int

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Unsupported("takes too many steps")


class _Automaton:
    """A pattern as a machine of states. What it did for a set of states and a character it remembers."""

    def __init__(self, program: Program, budget: _Budget) -> None:
        self._program, self._budget = program, budget
        self._next: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._start = self._closure([0], at_start=True)

    def matches(self, text: str) -> bool:
        """Does the whole text match?"""
        self._budget.spend(1 + len(text) // 16)
        states = self._start
        for letter in text:
            after = self._next.get((states, letter))
            if after is None:
                after = self._next[states, letter] = self._advance(states, letter)
            states = after
            if not states:
                return False
        at_end = self._closure(states, at_start=not text, at_end=True)
        return any(self._program[state].kind == "match" for state in at_end)

    def _advance(self, states: frozenset[int], letter: str) -> frozenset[int]:
        self._budget.spend(len(states))
        return self._closure([state + 1 for state in states if self._program[state].takes(letter)])

    def _closure(self, states: Iterable[int], *, at_start: bool = False, at_end: bool = False) -> frozenset[int]:
        """All states that can be reached without a character, of those that wait for one or for the end."""
        waiting, seen = list(states), set()
        while waiting:
            state = waiting.pop()
            if state in seen:
                continue
            seen.add(state)
            step = self._program[state]
            if step.kind == "split":
                waiting += step.targets
            elif (step.kind == "start" and at_start) or (step.kind == "end" and at_end):
                waiting.append(state + 1)
        self._budget.spend(len(seen))
        return frozenset(state for state in seen if self._program[state].kind not in ("split", "start"))


@dataclass
class _Names:
    """Patterns that are names of one length with dots at the same places: a dot stands for any character."""

    anchored: bool
    length: int
    dots: tuple[int, ...]
    first: dict[str, int] = field(default_factory=dict)

    def find(self, module: str) -> int | None:
        before = len(module) - self.length
        if before < 0 or (before > 0 and (self.anchored or module[before - 1] != ".")):
            return None
        letters = list(module[before:])
        for place in self.dots:
            if letters[place] == "\n":
                return None
            letters[place] = "."
        return self.first.get("".join(letters))


class Patterns:
    """Patterns in their order.

    :raises Unsupported: one is not a pattern of the kind above; ``pattern`` names it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._budget = _Budget(STEPS)
        groups: dict[tuple[bool, int, tuple[int, ...]], _Names] = {}
        self._others: list[tuple[int, str, Callable[[str], bool]]] = []
        self._all = list(patterns)
        for index, pattern in enumerate(self._all):
            if plain := _PLAIN.fullmatch(pattern):
                items = _ITEM.findall(plain[2])
                shape = bool(plain[1]), len(items), tuple(i for i, item in enumerate(items) if item == ".")
                names = groups.setdefault(shape, _Names(*shape))
                names.first.setdefault("".join(item[-1] for item in items), index)
            else:
                self._others.append((index, pattern, self._machine(pattern)))
        self._names = list(groups.values())

    def first(self, module: str) -> str | None:
        """The first pattern that peft would find for a module.

        :raises Unsupported: it takes too long.
        """
        self._budget.spend(len(self._names))
        found = [index for names in self._names if (index := names.find(module)) is not None]
        best = min(found, default=len(self._all))
        for index, pattern, matches in self._others:
            if index > best:
                break
            try:
                if matches(module):
                    return pattern
            except Unsupported as error:
                raise error.of(pattern) from None
        return self._all[best] if found else None

    def _machine(self, pattern: str) -> Callable[[str], bool]:
        try:
            program = compile_pattern(rf"(.*\.)?({pattern})$")
            self._budget.spend(len(program))
            return _Automaton(program, self._budget).matches
        except Unsupported as error:
            raise error.of(pattern) from None

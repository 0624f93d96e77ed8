"""Jinja templates of others, rendered in Jinja's sandbox within a budget of steps and characters.

The sandbox keeps a template away from the interpreter, and lets it take all time and memory: ``replace`` in a chain
makes 10^8 characters of one, and a list that holds another one twice, thirty times over, is written as 2^30 texts. Here
every loop, call, filter and operator is paid for before it is done, by what it touches and what it makes.

No thread, signal or clock is involved: the same template fails at the same place on every machine.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Characters of what a template writes, and of any text on the way.
LARGEST = 4_000_000
#: What a step costs beside the characters that it touches, and an item of a list that is walked through.
_STEP, _ITEM = 100, 50
#: Whole numbers that a template gives to a method or filter: widths, counts. And bits of those that it computes.
_NUMBER, _BITS = 10_000, 2_000
#: Filters and methods whose cost has no simple bound, and which no template of a model or suite needs.
_LEFT_OUT = ("urlize", "xmlattr", "random", "pprint", "forceescape", "striptags")
_METHODS = frozenset({"translate", "expandtabs", "encode", "format_map", "maketrans"})
_WIDTH = re.compile(r"\d{4,}|\*")


class LimitError(Exception):
    """A template takes more than it may, or does what is not allowed; the message completes "the template …"."""


@dataclass
class Budget:
    """Steps and characters that are left for one rendering, or for several together."""

    left: int

    @classmethod
    def of(cls, characters: int) -> Budget:
        """For a text of this length: it may be walked through two hundred times."""
        return cls(5_000_000 + 200 * characters)

    @classmethod
    def of_file(cls, characters: int, documents: int) -> Budget:
        """For a template that is rendered once for each document of a file."""
        return cls(20_000_000 + 30 * characters + 5_000 * documents)

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise LimitError("takes too many steps")


def compile_limited(environment: Any, template: str) -> Any:
    """A template of an environment that :func:`limited_environment` made."""
    return environment.from_string(template)


def render_limited(template: Any, variables: Mapping[str, Any], budget: Budget) -> str:
    """The text of a compiled template.

    :raises LimitError: it takes too much. :raises Exception: whatever else a template may raise.
    """
    environment = template.environment
    before, environment.budget = environment.budget, budget
    try:
        pieces, length = [], 0
        for piece in template.generate(dict(variables)):
            pieces.append(piece)
            length += len(piece)
            budget.spend(len(piece))
            if length > LARGEST:
                raise LimitError(f"writes more than {LARGEST:,} characters")
        return "".join(pieces)
    finally:
        environment.budget = before


def limited_environment(**options: Any) -> Any:
    """A sandboxed Jinja environment whose templates :func:`render_limited` renders; not for several threads at once.

    :param options: of ``jinja2.Environment``.
    """
    return _environment_class()(**options)


@functools.cache
def _environment_class() -> Any:
    """A class, since Jinja is imported only where a template is rendered."""
    from jinja2 import nodes, pass_context
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.visitor import NodeTransformer

    class Counted(NodeTransformer):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """Sends what compiles to plain Python (loops, ``~``, comparisons, slices) through filters that are paid for."""

        def visit_For(self, node: nodes.For) -> Any:
            self.generic_visit(node)
            node.iter = _filter(node.iter, "__counted")
            return node

        def visit_Concat(self, node: nodes.Concat) -> Any:
            self.generic_visit(node)
            return _filter(nodes.List(node.nodes, lineno=node.lineno), "__joined")

        def visit_Compare(self, node: nodes.Compare) -> Any:
            self.generic_visit(node)
            node.expr = _filter(node.expr, "__measured")
            for operand in node.ops:
                operand.expr = _filter(operand.expr, "__measured")
            return node

        def visit_Getitem(self, node: nodes.Getitem) -> Any:
            self.generic_visit(node)
            return _filter(node, "__measured") if isinstance(node.arg, nodes.Slice) else node

    def _filter(node: Any, name: str) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    class LimitedEnvironment(ImmutableSandboxedEnvironment):  # type: ignore[misc, no-any-unimported, unused-ignore]
        intercepted_binops = frozenset({"+", "*", "%", "**", "//", "/", "-"})

        def __init__(self, **options: Any) -> None:
            # Nothing is computed when a template is compiled: it is paid for when it is rendered.
            super().__init__(finalize=self._written, optimized=False, **options)
            self.budget = Budget(0)
            self.globals.pop("lipsum", None)
            for name in _LEFT_OUT:
                self.filters.pop(name, None)
            self.filters["tojson"] = _to_json
            for name, function in list(self.filters.items()):
                self.filters[name] = self._paid(name, function)
            own = {"__counted": self._counted, "__joined": self._joined, "__measured": self._measured}
            self.filters.update(own)

        def _parse(self, source: Any, name: Any, filename: Any) -> Any:
            return Counted().visit(super()._parse(source, name, filename))

        # ---- what is paid for --------------------------------------------------------------------

        def _counted(self, items: Iterable[Any]) -> Any:
            """A list keeps its length, which a loop may ask for; anything else is counted as it comes."""
            if isinstance(items, list | tuple | str | dict | range):
                self.budget.spend(_STEP * (1 + len(items)))
                return items
            return self._each(items)

        def _each(self, items: Iterable[Any]) -> Iterator[Any]:
            for item in items:
                self.budget.spend(_STEP)
                yield item

        def _joined(self, parts: list[Any]) -> str:
            texts = [part if isinstance(part, str) else str(self._measured(part)) for part in parts]
            return "".join(self._sized(texts, sum(map(len, texts))))

        def _measured(self, value: Any) -> Any:
            self.budget.spend(_STEP + self._size(value))
            return value

        def _size(self, value: Any) -> int:
            """What a value costs: its characters, and a little for each item, as a tree."""
            if isinstance(value, str):
                return len(value)
            return 0 if not isinstance(value, list | tuple | dict) else _tree(value, self.budget)

        @pass_context
        def _written(self, _: Any, value: Any) -> Any:
            return self._measured(value)

        def _sized(self, value: Any, size: int) -> Any:
            """:raises LimitError: it is larger than a text may be."""
            if size > LARGEST:
                raise LimitError(f"makes a text of more than {LARGEST:,} characters")
            self.budget.spend(_STEP + size)
            return value

        def _paid(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            """A filter that is paid for; the marks that say what Jinja passes to it stay."""

            @functools.wraps(function)
            def call(*arguments: Any, **named: Any) -> Any:
                plain = [one for one in (*arguments, *named.values()) if _is_data(one)]
                for one in plain:
                    self._measured(one)
                texts = [one for one in plain if isinstance(one, str)]
                numbers = [abs(one) for one in plain[1:] if isinstance(one, int)]
                if numbers and max(numbers) > _NUMBER:
                    raise LimitError(f"gives the number {max(numbers)} to the filter {name}"[:200])
                if name == "replace" and len(texts) > 2:
                    self._sized(None, _replaced(*texts[:3]))
                elif name == "join" and plain:
                    self._sized(None, _joined_size(plain[0], texts[-1] if texts else "", self.budget))
                elif name == "format" and texts and _WIDTH.search(texts[0]):
                    raise LimitError("formats a text with a width")
                elif name == "sum" and any(not isinstance(one, int | float) for one in plain[1:]):
                    raise LimitError("sums what is not numbers")
                elif numbers and texts:
                    self._sized(None, len(texts[0]) + max(numbers) * (1 + texts[0].count("\n")))
                return self._measured_if_data(function(*arguments, **named))

            return call

        def _measured_if_data(self, value: Any) -> Any:
            return self._measured(value) if _is_data(value) else value

        def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
            self.budget.spend(_STEP)
            method = getattr(function, "__wrapped__", function)  # the sandbox wraps str.format
            owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
            if isinstance(owner, str):
                self._method(owner, name, [*arguments, *named.values()])
            elif owner is not None and _is_data(owner):
                self._measured(owner)
            for one in (*arguments, *named.values()):
                if isinstance(one, int) and abs(one) > LARGEST:
                    raise LimitError(f"gives a number of {len(str(one)[:20])} digits to a function")
            return self._measured_if_data(super().call(context, function, *arguments, **named))

        def _method(self, text: str, name: str, arguments: list[Any]) -> None:
            """Before a method of a text is called."""
            if name in _METHODS:
                raise LimitError(f"calls the method {name} of a text")
            if name == "format" and _WIDTH.search(text):
                raise LimitError("formats a text with a width")
            size = len(text)
            for one in arguments:
                if isinstance(one, int) and abs(one) > _NUMBER and name in ("center", "ljust", "rjust", "zfill"):
                    raise LimitError(f"calls {name} with a large number")
                size += min(abs(one), _NUMBER) if isinstance(one, int) else self._size(one)
            if name == "replace" and len(arguments) > 1 and all(isinstance(one, str) for one in arguments[:2]):
                size = _replaced(text, arguments[0], arguments[1])
            elif name == "join" and arguments and isinstance(arguments[0], list | tuple):
                size = _joined_size(arguments[0], text, self.budget)
            self._sized(None, size)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = isinstance(left, int | float) and isinstance(right, int | float)
            if numbers:
                self.budget.spend(_STEP)
                _check_numbers(operator, left, right)
            elif operator == "*":
                length, times = (left, right) if isinstance(right, int) else (right, left)
                self._sized(None, self._size(length) * max(0, times if isinstance(times, int) else 0))
            elif operator == "%" and isinstance(left, str) and _WIDTH.search(left):
                raise LimitError("formats a text with a width")
            else:
                self._sized(None, self._size(left) + self._size(right))
            return super().call_binop(context, operator, left, right)

    return LimitedEnvironment


def _is_data(value: Any) -> bool:
    return isinstance(value, str | int | float | list | tuple | dict | None)


def _tree(value: Any, budget: Budget) -> int:
    """Characters and items of a list or table as a tree, since that is how it is written and compared.

    :raises LimitError: more than the budget allows to look at, or a text may have.
    """
    total, left = 0, [value]
    while left:
        one = left.pop()
        total += _ITEM + (len(one) if isinstance(one, str) else 0)
        if isinstance(one, dict):
            left.extend(one)
            left.extend(one.values())
        elif isinstance(one, list | tuple):
            left.extend(one)
        if total > min(budget.left, _ITEM * LARGEST) or len(left) > LARGEST:
            raise LimitError("makes a value of too many parts")
    return total


def _replaced(text: str, old: str, new: str) -> int:
    """The length of ``text.replace(old, new)``."""
    return len(text) + text.count(old) * max(0, len(new) - len(old))


def _joined_size(items: Any, between: str, budget: Budget) -> int:
    if not isinstance(items, list | tuple | dict | str):
        return 0  # a generator: what comes of it is measured
    size = len(items) if isinstance(items, str) else _tree(items, budget)
    return size + len(between) * len(items)


def _check_numbers(operator: str, left: float, right: float) -> None:
    """:raises LimitError: a whole number with thousands of digits would come of it."""
    if not isinstance(left, int) or not isinstance(right, int):
        return
    bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
    if operator in ("*", "**") and bits > _BITS:
        raise LimitError(f"computes a number of {bits:,} bits"[:80])


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """transformers' filter of this name: no letter is escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

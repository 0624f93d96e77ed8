"""YAML read as plain data, with the line of every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cogen.errors import SpecError, UnsafeError

#: A recipe is some hundred lines. Aliases may repeat a value; an alias bomb is far beyond this number of values.
_BYTES, _VALUES, _DEPTH = 1 << 20, 100_000, 60


@dataclass(frozen=True)
class RecipeDocument:
    """``value`` is what the file says; ``root`` the same as a tree that knows its lines."""

    name: str
    text: str
    value: Any
    root: yaml.Node

    def line(self, place: Sequence[str | int]) -> int | None:
        """The line, from 1, of the value at ``place``, or of the innermost one around it that the file has."""
        return self._walk(place)[1]

    def known(self, place: Sequence[str | int]) -> tuple[str | int, ...]:
        """The part of ``place`` that leads to something in the file."""
        return self._walk(place)[0]

    def _walk(self, place: Sequence[str | int]) -> tuple[tuple[str | int, ...], int]:
        node, mark, path = self.root, self.root.start_mark, []
        for part in place:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = node.value[part], node.value[part]
            if found:
                mark, node = found[0].start_mark, found[1]
                path.append(part)
        return tuple(path), mark.line + 1


def read_document(path: Path) -> RecipeDocument:
    """Read and parse a file; see :func:`parse_document`.

    :raises SpecError: the file is unreadable, not UTF-8 or larger than 1 MB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES + 1)
        text = data.decode("utf-8-sig") if len(data) <= _BYTES else ""
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint="give a mergekit config.yml") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name} is not UTF-8 text", hint="give a mergekit config.yml") from error
    if len(data) > _BYTES:
        raise SpecError(f"{path.name} is larger than 1 MB", hint="give a recipe, not a model")
    return parse_document(text, path.name)


def parse_document(text: str, name: str) -> RecipeDocument:
    """Parse one YAML mapping.

    :param name: of the document in error messages.
    :raises SpecError: invalid YAML, a duplicate key, several documents, no mapping.
    :raises UnsafeError: a tag that would build an object, or aliases that expand to too many values.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise SpecError(f"{name} is not a recipe: expected a mapping", hint="give a mergekit config.yml")
        _count(root, {}, (), name)
        return RecipeDocument(name, text, yaml.safe_load(text), root)
    except yaml.composer.ComposerError as error:
        if "single document" in str(error):
            raise SpecError(
                f"{name} holds several documents", hint="run the recipes of mergekit-multi one by one"
            ) from error
        raise _invalid(name, error) from error
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UnsafeError(f"{name}, line {line}: {error.problem}", hint="a recipe is plain data") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _invalid(name, error) from error


def _invalid(name: str, error: Exception) -> SpecError:
    mark = getattr(error, "problem_mark", None)
    at = f"{name}, line {mark.line + 1}" if mark else name
    problem = getattr(error, "problem", None) or type(error).__name__
    return SpecError(f"{at}: not valid YAML: {problem}", hint="fix the line shown above")


def _count(node: yaml.Node, sizes: dict[int, int], inside: tuple[int, ...], name: str) -> int:
    """Values below a node, aliases written out; duplicate keys, which YAML readers drop silently, are errors."""
    if id(node) in inside or len(inside) > _DEPTH:
        raise UnsafeError(f"{name}, line {node.start_mark.line + 1}: nested too deeply", hint="write the values out")
    if id(node) in sizes:
        return sizes[id(node)]
    total, around = 1, (*inside, id(node))
    if isinstance(node, yaml.SequenceNode):
        total += sum(_count(item, sizes, around, name) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            text = str(key.value)
            if isinstance(key, yaml.ScalarNode) and text in seen:
                raise SpecError(f"{name}, line {key.start_mark.line + 1}: duplicate key {text}", hint="remove one")
            seen.add(text)
            total += _count(key, sizes, around, name) + _count(value, sizes, around, name)
    sizes[id(node)] = total
    if total > _VALUES:
        raise UnsafeError(f"{name} expands to more than {_VALUES:,} values", hint="write out its aliases")
    return total

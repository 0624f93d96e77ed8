"""One vocabulary, the field's: retired words are no identifiers any more, and a class name is defined once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]

#: Retired word → what is said in its place. Compared with each part of an identifier: `read_wishes`, `TokenWish`.
RETIRED = {
    "ballots": "election weights",
    "companions": "model_files",
    "lexicon": "CompositeTokenizer",
    "licence": "license",
    "licences": "licenses",
    "mentor": "teacher",
    "mentors": "teachers",
    "refuse": "check",
    "room": "state",
    "rooms": "components",
    "said": "what it is: document, body, reason, result",
    "school": "distill run",
    "sought": "search space",
    "taught": "distilled",
    "told": "what it is: result, output, answer",
    "wish": "options, request or query",
    "wishes": "options",
}
#: Files that may name a retired word: a wire format, an alias or a database of before.
_OLD_NAMES = re.compile(r"database/migrations/|tests/meta/test_words\.py")
#: The old spelling of an option or a field of JSON, which is still read.
_ALIASES = {"licence"}


def _files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((_ROOT / folder).rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that a file defines: variables, arguments, functions, classes, attributes, modules."""
    yield 1, path.stem
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"--[a-z-]+", node.value):
            yield node.lineno, node.value


def _words(identifier: str) -> list[str]:
    """``readTokenWishes``, ``read_wishes`` and ``--licence`` as words in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def retired(*folders: str) -> list[str]:
    """``file:line name`` of each use."""
    found = []
    for path in _files(*folders):
        name = path.relative_to(_ROOT).as_posix()
        if _OLD_NAMES.search(name):
            continue
        for line, identifier in _identifiers(path):
            sentence = name.startswith("tests/") and identifier.startswith("test_") and line > 1
            if identifier.lstrip("-") in _ALIASES or sentence:
                continue
            if RETIRED.keys() & set(_words(identifier)):
                found.append(f"{name}:{line} {identifier}")
    return found


@pytest.mark.parametrize("folder", ["core", "registry", "tests"])
def test_retired_words_are_gone(folder: str) -> None:
    """Where one is needed again, RETIRED says what it is called now."""
    assert retired(folder) == []


def test_words_of_an_identifier() -> None:
    assert _words("read_wishes") == ["read", "wishes"]
    assert _words("TokenWish") == ["token", "wish"]
    assert _words("--licence") == ["licence"]
    assert _words("_GGUFWish2") == ["gguf", "wish"]


@pytest.mark.parametrize("folder", ["core", "registry"])
def test_a_class_name_is_defined_once(folder: str) -> None:
    """Who reads a name in a traceback or a signature has one place to look for it."""
    where: dict[str, list[str]] = defaultdict(list)
    for path in _files(folder):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(f"{path.relative_to(_ROOT)}:{node.lineno}")
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


def test_no_test_undoes_what_its_fixtures_set() -> None:
    """``undo`` of a fixture's monkeypatch also takes back the folders that others set, and the test goes on in the
    user's own: ``with monkeypatch.context()`` ends one change alone."""
    found = [
        path
        for path in _files("tests")
        if any(isinstance(node, ast.Attribute) and node.attr == "undo" for node in ast.walk(_tree(path)))
    ]
    assert found == []

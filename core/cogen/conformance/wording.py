"""What is written in files that are not data: comments and docstrings of code, texts of settings, templates, notes.

A sentence of a patient leaves in the comment of a task file as well as in a file of samples.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from cogen.conformance.shipped_texts import strings
from cogen.text.scripts import words
from cogen.untrusted.json_text import parse_json
from cogen.untrusted.toml_text import parse_toml

#: Words that make something written: fewer are a name or a number.
LEAST_WORDS = 4
#: Weights, what Python compiles, and lines of data, which are looked at as such.
_OTHER = frozenset({".safetensors", ".gguf", ".pyc", ".model", ".jsonl"})
_QUOTES = re.compile(r"^\w{0,2}[\"']+|[\"']+$")
_COMMENT = re.compile(r"(?:^|\s)#+ ?(.*)$")


def decoded(name: str, read: Callable[[], bytes]) -> str | None:
    """The text of a file; ``None`` of weights, data and what is no text at all."""
    if PurePosixPath(name).suffix in _OTHER:
        return None
    content = read()
    return None if b"\0" in content else content.decode("utf-8", "replace")


def wording(name: str, text: str) -> list[str]:
    """What is written in a file, piece by piece in the file's order, each of :data:`LEAST_WORDS` words or more.

    :param text: of :func:`decoded`.
    """
    read = _READERS.get(PurePosixPath(name).suffix, _lines)
    try:
        found = list(read(text))
    except (ValueError, SyntaxError, RecursionError, tokenize.TokenError):
        found = list(_lines(text))
    plain = (" ".join(piece.split()) for piece in found)
    return [piece for piece in dict.fromkeys(plain) if len(words(piece)) >= LEAST_WORDS]


def _lines(text: str) -> Iterator[str]:
    yield from text.splitlines()


def _comments(text: str) -> Iterator[str]:
    """Of settings; lines of comment that follow one another are one."""
    run: list[str] = []
    for line in text.splitlines():
        found = _COMMENT.search(line)
        if found and line.lstrip().startswith("#"):
            run.append(found[1])
            continue
        if run:
            yield " ".join(run)
            run = []
        if found:
            yield found[1]
    yield " ".join(run)


def _python(text: str) -> Iterator[str]:
    """Comments, docstrings and every other string."""
    run: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            run.append(token.string.lstrip("#"))
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            if run:
                yield " ".join(run)
                run = []
            if token.type == tokenize.STRING:
                yield _literal(token.string)
    yield " ".join(run)


def _literal(source: str) -> str:
    """The text of a string literal; of an f-string as it is written."""
    try:
        value = ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return _QUOTES.sub("", source)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _toml(text: str) -> Iterator[str]:
    yield from strings(parse_toml(text))
    yield from _comments(text)


def _yaml(text: str) -> Iterator[str]:
    import yaml

    with contextlib.suppress(yaml.YAMLError):
        yield from (token.value for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken))
        yield from _comments(text)
        return
    yield from _lines(text)


def _json(text: str) -> Iterator[str]:
    yield from strings(parse_json(text))


_READERS: dict[str, Callable[[str], Iterator[str]]] = {
    ".py": _python,
    ".pyi": _python,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
}

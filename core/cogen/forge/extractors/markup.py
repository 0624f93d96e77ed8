"""Prose of Python files and of XML."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from xml.etree import ElementTree

from cogen.forge.account import DUPLICATE, NOT_PYTHON, SHORT_DOCSTRING, text_size
from cogen.forge.extractors import latin_markup
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.extractors.rst import plain_rst


def docstrings(member: SourceFile) -> Pieces:
    """Docstrings of at least 200 characters: modules, classes, functions."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of other people's escapes
            tree = ast.parse(member.text)
    except (SyntaxError, ValueError):
        if member.latin:
            member.account.drop(NOT_PYTHON, 0)  # its bytes are counted with the files that give no prose
        else:
            member.account.leave_out(NOT_PYTHON, text_size(member.text), member.name)
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and len(docstring) >= 200:
                clean = inspect.cleandoc(docstring)
                plain = latin_markup.plain_rst(clean) if member.latin else plain_rst(clean, member.account)
                yield member.name, plain
            elif docstring and not member.latin:
                member.account.leave_out(SHORT_DOCSTRING, docstring)


def xml(member: SourceFile) -> Pieces:
    """Text of the outermost elements called ``field``, in any namespace, each text once; a file is one group."""
    seen: set[str] = set()
    for element in _outermost(ElementTree.fromstring(member.text), member.source.field):
        text = " ".join("".join(element.itertext()).split())
        if text and text not in seen:
            seen.add(text)
            yield member.name, text
        elif text and not member.latin:
            member.account.leave_out(DUPLICATE, text)


def _outermost(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    left = [root]
    while left:
        element = left.pop()
        if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name:
            yield element
        else:
            left.extend(reversed(element))

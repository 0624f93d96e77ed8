"""Prose of files with markup: reStructuredText, docstrings, HTML, XML."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

from cogen.forge.account import NOT_PYTHON
from cogen.forge.extractors.member import Pieces, SourceFile

_ROLE = re.compile(r":[\w:+.-]+:`([^`<]*?)\s*(?:<[^>]*>)?`")
_RST_LINK = re.compile(r"`([^`<]+?)\s*<[^>]+>`_{1,2}|`([^`]+)`_{0,2}")
_LITERAL = re.compile(r"(?<!:)``([^`\n]+)``")
_RULE = re.compile(r"^\s*([=\-~^\"'#*+`:.<>_])\1{2,}\s*$")


def plain_rst(text: str, latin: bool = False) -> str:
    """reStructuredText without directives, tables, literal blocks, field lists and marks.

    :param latin: as the extractor was at first (segmentation ``latin``): a blank line ended a literal block before it
        began, and double backquotes stayed single ones.
    """
    kept: list[str] = []
    skip_below: int | None = None
    literal, opened = False, 0
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if skip_below is not None:
            if not line.strip() or indent > skip_below:
                continue
            skip_below = None
        stripped = line.strip()
        if literal and stripped:
            literal = False
            if indent > opened:
                skip_below = indent - 1
                continue
        note = re.match(r"\.\.\s+(note|tip|warning|important|seealso|admonition|hint|attention)::\s*(.*)", stripped)
        if note:  # the text of an admonition is prose
            kept.append("\n" + note[2])
        elif stripped.startswith((".. ", "..\t")) or stripped == ".." or re.match(r":[\w -]+:(\s|$)", stripped):
            skip_below = indent
        elif (
            stripped.startswith((">>>", "...", "$ ", "In [", "Out[", "|"))
            or _RULE.match(line)
            or re.match(r"^[+=][+=\-| ]{3,}$", stripped)
        ):
            kept.append("")
        else:
            if opens := stripped.endswith("::"):
                opened = 0 if latin else indent
                line = "" if stripped == "::" and not latin else line.replace("::", ":")
            literal = opens or (literal and not stripped and not latin)
            kept.append(line)
    plain = "\n".join(kept)
    if not latin:
        plain = _LITERAL.sub(r"\1", plain)
    plain = _ROLE.sub(lambda m: m[1].split(".")[-1].lstrip("~!"), plain)
    plain = _RST_LINK.sub(lambda m: m[1] or m[2], plain)
    return re.sub(
        r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*|``([^`\n]+)``|\[\d+\]_", lambda m: m[1] or m[2] or m[3] or "", plain
    )


def rst(member: SourceFile) -> Pieces:
    yield member.name, plain_rst(member.text, member.latin)


def docstrings(member: SourceFile) -> Pieces:
    """Docstrings of at least 200 characters: modules, classes, functions."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of other people's escapes
            tree = ast.parse(member.text)
    except (SyntaxError, ValueError):
        member.account.drop(NOT_PYTHON, 0)  # its bytes are counted with the files that give no prose
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and len(docstring) >= 200:
                yield member.name, plain_rst(inspect.cleandoc(docstring), member.latin)


class _Paragraphs(HTMLParser):
    """Text of paragraphs, list items and definitions; nothing of scripts, code blocks and navigation."""

    KEEP, SKIP = (
        ("p", "li", "dd", "dt", "blockquote", "h1", "h2", "h3"),
        ("script", "style", "pre", "nav", "table", "footer"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skip = 0
        self.keep = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skip += tag in self.SKIP
        if tag in self.KEEP:
            self.keep += 1
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        self.skip -= tag in self.SKIP and self.skip > 0
        if tag in self.KEEP and self.keep:
            self.keep -= 1
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self.keep and not self.skip:
            self.parts.append(data)


def html(member: SourceFile) -> Pieces:
    parser = _Paragraphs()
    parser.feed(member.text)
    yield member.name, "".join(parser.parts)


def xml(member: SourceFile) -> Pieces:
    """Text of the outermost elements called ``field``, in any namespace, each text once; a file is one group."""
    seen: set[str] = set()
    for element in _outermost(ElementTree.fromstring(member.text), member.source.field):
        text = " ".join("".join(element.itertext()).split())
        if text and text not in seen:
            seen.add(text)
            yield member.name, text


def _outermost(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    left = [root]
    while left:
        element = left.pop()
        if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name:
            yield element
        else:
            left.extend(reversed(element))

"""Prose of reStructuredText, line by line: files are read as they are, with directives of every project's own."""

from __future__ import annotations

import re
import textwrap
from itertools import zip_longest

from cogen.forge.account import CODE, COMMENT, DIRECTIVE, FIELDS, MARKUP, TABLE, SourceAccount
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.extractors.prose import is_prose, prose_of, row_text

_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?([\w:.+-]+)::(?:\s+(.*))?$")
#: Directives whose text is prose; the text of those that nobody knows is looked at.
_TEXT_NAMES = """
note tip warning important seealso admonition hint attention caution danger error todo versionadded
versionchanged deprecated topic sidebar epigraph highlights pull-quote compound container rubric glossary
only list-table dropdown card tab tab-item details rst-class class hlist figure table centered
"""
_TEXT = frozenset(_TEXT_NAMES.split())
#: Directives whose text is none.
_CODE_NAMES = """
code code-block sourcecode literalinclude parsed-literal highlight math raw image toctree contents include doctest
testcode testoutput testsetup testcleanup ipython plot graphviz digraph graph uml mermaid jupyter-execute
bibliography autosummary currentmodule module py:module meta index
"""
_CODE = frozenset(_CODE_NAMES.split())
_NOTE = re.compile(r"\.\.\s+\[[^\]]+\]\s+(\S.*)")
_FIELD = re.compile(r":([^\s:`](?:[^:`\n]*[^\s:`])?):(?:\s+(.*))?$")
_RULE = re.compile(r"^\s*([=\-~^\"'#*+`:.<>_])\1{2,}\s*$")
_BORDER = re.compile(r"^\+[+=-]{3,}\+$")
_SIMPLE_BORDER = re.compile(r"^[=-]{2,}(?:\s+[=-]{2,})+$")
_CONSOLE = re.compile(r">>>|In \[\d*\]:|Out\[\d*\]:|\$ (?!\d)")

#: Inside of a paragraph.
_INNER = r"(?:[^`\n]|\n(?![ \t]*\n))"
_ROLE = re.compile(rf":((?:[\w+.-]+:){{1,3}})`({_INNER}*?)(?:\s<[^<>`\n]*>)?`")
_LINK = re.compile(rf"`([^`<\n]+(?:\n[^`<\n]+)?)<[^>`\s]+>`_{{1,2}}|`({_INNER}+)`_{{0,2}}")
#: A name of Python, of which readers see the last part.
_OBJECT = re.compile(r"[~!]?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?")
_LITERAL = re.compile(r"(?<!:)``([^`\n]+)``")
#: Marks that reStructuredText takes for some: outside of words, with no space inside.
_EMPHASIS = re.compile(
    r"(?<![\w*\\])\*\*(?=[^\s*)\]}])([^*\n]*[^\s*\\])\*\*(?![\w*])|(?<![\w*\\])\*(?=[^\s*)\]}])([^*\n]*[^\s*\\])\*(?![\w*])|\[\d+\]_(?!\w)"
)
#: A backslash before a mark takes its meaning; one before a space takes the space, too.
_ESCAPE = re.compile(r"\\(?: |([*`_|\\]))")


def rst(member: SourceFile) -> Pieces:
    """The whole file as one text."""
    yield member.name, plain_rst(member.text, member.account)


def plain_rst(text: str, account: SourceAccount) -> str:
    """reStructuredText without its marks, code, and what is no prose in tables, directives and field lists.

    :param account: counts everything that is left out and is more than a mark.
    """
    return _without_marks("\n".join(_RstLines(text.expandtabs(8).splitlines(), account).kept()))


def _without_marks(text: str) -> str:
    text = _LITERAL.sub(r"\1", text)
    text = _ROLE.sub(_role_text, text)
    text = _LINK.sub(lambda m: (m[1] or m[2]).strip(), text)
    text = _EMPHASIS.sub(lambda m: m[1] or m[2] or "", text)
    return _ESCAPE.sub(r"\1", text)


def _role_text(found: re.Match[str]) -> str:
    text = found[2].strip()
    if found[1] in ("sup:", "superscript:"):
        return f"^{text}"
    return text.rpartition(".")[2].lstrip("~!") if _OBJECT.fullmatch(text) else text


class _RstLines:
    """Lines of a text, read once from the first to the last."""

    def __init__(self, lines: list[str], account: SourceAccount) -> None:
        self._lines, self._account = lines, account
        self._at = 0
        self._kept: list[str] = []

    def kept(self) -> list[str]:
        """The lines of prose, with empty ones where something was left out."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            self._line(line, line.strip(), len(line) - len(line.lstrip()))
        return self._kept

    def _line(self, line: str, stripped: str, indent: int) -> None:
        if stripped == ".." or stripped.startswith((".. ", "..\t")):
            self._explicit(stripped, indent)
        elif found := _FIELD.match(stripped):
            self._field(found, indent)
        elif _CONSOLE.match(stripped):
            self._console(line)
        elif _BORDER.match(stripped):
            self._table()
        elif _RULE.match(line) or _SIMPLE_BORDER.match(stripped):
            self._kept.append("")
        elif stripped.startswith("| ") or stripped == "|":
            self._kept += [stripped[1:].strip(), ""]
        elif stripped.endswith("::"):
            self._kept += ["" if stripped == "::" else line.rstrip()[:-1], ""]
            self._prose(self._literal_block(indent), CODE)
        else:
            self._kept.append(line)

    def _body(self, indent: int) -> list[str]:
        """The lines that follow and are indented more, and the empty ones among them."""
        start = end = self._at
        while end < len(self._lines):
            line = self._lines[end]
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                break
            end += 1
        self._at = end
        return self._lines[start:end]

    def _literal_block(self, indent: int) -> list[str]:
        """The lines that follow and are indented as the first of them; a block that is not indented more is none."""
        at = self._at
        while at < len(self._lines) and not self._lines[at].strip():
            at += 1
        first = self._lines[at] if at < len(self._lines) else ""
        own = len(first) - len(first.lstrip())
        return self._body(own - 1) if own > indent else []

    def _prose(self, lines: list[str], reason: str, *, marked: bool = True) -> None:
        text = textwrap.dedent("\n".join(lines))
        for block in prose_of(text, self._account, reason, marked=marked):
            self._kept += ["", block, ""]

    def _explicit(self, stripped: str, indent: int) -> None:
        """A directive, a footnote, a target or a comment."""
        self._kept.append("")
        if note := _NOTE.match(stripped):
            self._kept.append(note[1])  # what follows of it is indented text like other text
        elif found := _DIRECTIVE.match(stripped):
            name, argument = found[1], found[2] or ""
            if name in _TEXT:
                if name not in ("rst-class", "class", "figure", "only", "container"):
                    self._kept.append(argument)
                else:
                    self._account.leave_out(MARKUP, argument)
            elif name in _CODE:
                self._account.leave_out(CODE, "".join([argument, *self._body(indent)]))
            else:
                self._prose([argument], DIRECTIVE)
                self._prose(self._body(indent), DIRECTIVE)
        elif stripped.startswith((".. _", "..\t_", ".. __")):
            self._account.leave_out(MARKUP, "".join([stripped, *self._body(indent)]))
        else:
            self._account.leave_out(COMMENT, "".join([stripped[2:], *self._body(indent)]))

    def _field(self, found: re.Match[str], indent: int) -> None:
        """``:param name: text``: kept, with the name, where the text is a sentence."""
        text = "\n".join([found[2] or "", *(line.strip() for line in self._body(indent))])
        if is_prose(text, marked=False):
            self._kept += ["", f"{found[1].split()[-1]}: {text.strip()}", ""]
        else:
            self._account.leave_out(FIELDS, found[1] + text)

    def _console(self, line: str) -> None:
        """What is typed and what is answered, up to an empty line."""
        self._account.leave_out(CODE, line)
        while self._at < len(self._lines) and self._lines[self._at].strip():
            self._account.leave_out(CODE, self._lines[self._at])
            self._at += 1
        self._kept.append("")

    def _table(self) -> None:
        """A grid table: a row between two borders, each cell of which may have several lines."""
        header: list[str] = []
        lines: list[list[str]] = []
        first = True
        while self._at < len(self._lines) and (stripped := self._lines[self._at].strip()).startswith(("+", "|")):
            self._at += 1
            if not stripped.startswith("+") or not _BORDER.match(stripped):
                lines.append([cell.strip() for cell in stripped.strip("|+").split("|")])
                continue
            cells = [" ".join(filter(None, cell)) for cell in zip_longest(*lines, fillvalue="")]
            if first and "=" in stripped:
                header = cells
            elif cells:
                self._kept += ["", row_text(header, cells, self._account), ""]
            lines, first = [], False
        self._account.leave_out(TABLE, "".join(header))
        for row in lines:  # after the last border: no table
            self._kept.append(" ".join(row))
        self._kept.append("")

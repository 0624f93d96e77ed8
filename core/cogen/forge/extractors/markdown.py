"""Prose of Markdown, by markdown-it-py (CommonMark with GitHub's tables).

Where CommonMark would take letters out of ordinary text (``2*3*4``, ``BP [120](80)``, ``> 80`` at a line's beginning),
the text stays as it is written: a mark too many does no harm, a number that is gone does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote
from markdown_it.rules_inline import StateInline, emphasis
from markdown_it.token import Token

from cogen.forge.account import CODE, COMMENT, FRONT_MATTER, IMAGE_TEXT, TABLE, SourceAccount
from cogen.forge.extractors.html import html_text
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.extractors.prose import closed_names, is_prose, is_tag, prose_of, raised, row_text

_FRONT = re.compile(
    r"\A---[ \t]*\n((?:(?:[\w.-]+:(?:[ \t].*)?|[ \t]+.*|-[ \t].*|#.*)?\n)+?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
)
#: Beginning of a block of MkDocs (``!!! note "Title"``), whose text is indented, or of a ``:::`` container.
_BLOCK = re.compile(
    r'[ \t]*(?:(?:!!!|\?\?\?\+?)[ \t]+[a-z-]+(?:[ \t]+[a-z-]+)*(?:[ \t]+"(?P<a>[^"]*)")?|'
    r'===\+?!?[ \t]+"(?P<b>[^"]*)")[ \t]*$'
)
_CONTAINER = re.compile(
    r'[ \t]*(?:--8<--(?:[ \t]+"[^"]*")?|:::+[ \t]*(?:\{[^}]*\}|[a-z][a-z0-9_-]*)?(?P<title>(?:[ \t]+.*)?))$'
)
_MATH = re.compile(r"\$\$[^$]+\$\$|\$(?=\S)[^$\n]*(?<=\S)\$(?!\d)")
#: ``> 80``: greater than, no quotation.
_GREATER = re.compile(r">[ \t]*[=<≤≥~≈+-]?[ \t]*[.,]?\d")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|[./#?]|[^\n]*\.[A-Za-z]\w{0,4}(?:[#?]|$)|[^/\s]+/[^/\s]*/")
_DECLARATION = re.compile(r"<\?[a-z]|<!(?:doctype|element|entity|attlist|notation)\b", re.I)
_PIPE = re.compile(r"(?<!\\)\|")
#: Languages of fences in which text stands.
_PLAIN = ("", "text", "txt", "plain", "plaintext", "markdown", "md", "note", "quote")
_DEPTH = 3
#: Levels that the parser tells apart. It skips what is deeper, so such a text is not parsed at all.
_NESTING = 50


def markdown(member: SourceFile) -> Pieces:
    """The whole file as one text. Takes time in proportion to its length, whatever is opened in it and never closed."""
    text = member.text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    front, text = _front_matter(text, member.account)
    reader = _Blocks(member.account, closed_names(text))
    yield member.name, "\n\n".join([*front, *reader.blocks(_without_containers(text))])


class _Blocks:
    """Blocks of text out of Markdown. ``closed``: names of the tags that the file closes somewhere."""

    def __init__(self, account: SourceAccount, closed: frozenset[str]) -> None:
        self._account, self._closed = account, closed

    def blocks(self, text: str, depth: int = 0) -> Iterator[str]:
        """One a paragraph, heading, list item's paragraph, row of a table."""
        lines = text.split("\n")
        mark = ""
        header: list[str] | None = None
        cells: list[str] | None = None
        line = ""
        tokens = _parser().parse(text)
        if any(token.level >= _NESTING - 2 for token in tokens):
            yield text
            return
        for token in tokens:
            if token.type == "inline":
                found = self._inline(token.children or ())
                if cells is not None:
                    cells.append(found)
                else:
                    yield mark + found
                    mark = ""
            elif token.type == "list_item_open":
                mark += f"{token.info}{token.markup} "
            elif token.type == "list_item_close":
                mark = ""
            elif token.type in ("fence", "code_block"):
                for block in self._code(token, lines):
                    if depth >= _DEPTH:
                        yield block
                    else:
                        yield from self.blocks("\n".join(line.strip() for line in block.split("\n")), depth + 1)
            elif token.type == "html_block":
                yield html_text(token.content, self._account, self._closed)
            elif token.type == "table_open":
                header = None
            elif token.type == "tr_open":
                cells, line = [], lines[token.map[0]] if token.map else ""
            elif token.type == "tr_close" and cells is not None:
                cells += _more_cells(line, len(cells))
                if header is None and not any(is_prose(cell, marked=False) for cell in cells):
                    header = cells
                else:
                    yield row_text(header or (), cells, self._account)
                    header = header or []
                cells = None
            elif token.type == "table_close":
                self._account.leave_out(TABLE, "".join(header or ()))

    def _inline(self, children: Sequence[Token]) -> str:
        parts = [""]
        is_raised = False
        for token in children:
            if token.type in ("text", "code_inline"):
                parts.append(raised(parts[-1], token.content) if is_raised else token.content)
                is_raised = False
            elif token.type in ("softbreak", "hardbreak"):
                parts.append("\n")
            elif token.type == "image":
                self._account.leave_out(IMAGE_TEXT, token.content)
            elif token.type == "html_inline":
                if is_raised := token.content.lower() == "<sup>":
                    continue
                parts.append(self._tag(token.content))
        return "".join(parts)

    def _tag(self, raw: str) -> str:
        """What stays of it: all where it is no tag, a line break of ``<br>``."""
        if raw.startswith("<!--"):
            self._account.leave_out(COMMENT, raw)
            return ""
        if raw.startswith("<![CDATA["):
            return raw[9:-3]
        if raw.startswith(("<!", "<?")):
            return "" if _DECLARATION.match(raw) else raw
        if not is_tag(raw, self._closed):
            return raw
        return "\n" if raw.lower().startswith("<br") else ""

    def _code(self, token: Token, lines: list[str]) -> Iterator[str]:
        """Prose of a block that is indented, or between fences that name no language or are never closed."""
        if token.type == "code_block":
            return prose_of(token.content, self._account, marked=False)
        if is_prose(token.info, marked=False):  # no language
            return prose_of(f"{token.info}\n{token.content}", self._account, marked=False)
        language = token.info.strip().split(" ")[0].strip("{}.").lower()
        closing = lines[token.map[1] - 1].strip(" \t>") if token.map and token.map[1] <= len(lines) else ""
        if language not in _PLAIN and closing.startswith(token.markup):
            self._account.leave_out(CODE, token.content)
            return iter(())
        return prose_of(token.content, self._account)


def _more_cells(line: str, columns: int) -> list[str]:
    """Cells beyond the table's columns, which the parser leaves out."""
    return [cell.strip() for cell in _PIPE.split(line.strip().strip("|"))[columns:]] if columns else []


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": _NESTING}).enable("table")
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    parser.validateLink = lambda url: not url or _ADDRESS.match(url) is not None  # type: ignore[method-assign]
    parser.inline.ruler.at("emphasis", _emphasis)
    parser.inline.ruler.before("escape", "math", _math)
    parser.block.ruler.at("blockquote", _quotation, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return parser


def _emphasis(state: StateInline, silent: bool) -> bool:
    """CommonMark's, but no ``*`` between digits or Latin letters, or alone in brackets: ``2*3*4`` is a product."""
    start, text = state.pos, state.src
    if text[start] != "*":
        return emphasis.tokenize(state, silent)
    stop = start
    while stop < state.posMax and text[stop] == "*":
        stop += 1
    before, after = text[start - 1 : start], text[stop : stop + 1]
    product = before.isdigit() and after.isalnum() if before.isdigit() else _in_word(before) and _in_word(after)
    alone = before != "" and before in "([{（【" and after != "" and after in ")]}）】"
    if not product and not alone:
        return emphasis.tokenize(state, silent)
    if not silent:
        state.pending += text[start:stop]
        state.pos = stop
    return not silent


def _in_word(letter: str) -> bool:
    return letter.isalnum() and (letter.isascii() or letter.isdigit() or "\u00c0" <= letter <= "\u02ff")


def _math(state: StateInline, silent: bool) -> bool:
    """Formulas stay as they are: their ``_``, ``*``, ``<`` and backslashes are no marks."""
    if state.src[state.pos] != "$":
        return False
    found = _MATH.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.pending += found[0]
    state.pos = found.end()
    return True


def _quotation(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    begin = state.bMarks[start] + state.tShift[start]
    if _GREATER.match(state.src, begin, state.eMarks[start]):
        return False
    return blockquote(state, start, end, silent)


def _front_matter(text: str, account: SourceAccount) -> tuple[list[str], str]:
    """Values of the metadata that are sentences, and what follows it. Prose between two rules is no metadata."""
    found = _FRONT.match(text)
    if found is None:
        return [], text
    kept = []
    for line in found[1].split("\n"):
        if is_prose(line.partition(":")[2] or line):
            kept.append(line.strip())
        else:
            account.leave_out(FRONT_MATTER, line)
    return kept, text[found.end() :]


def _without_containers(text: str) -> str:
    """With the text of MkDocs' blocks and of ``:::`` containers as ordinary text."""
    if not re.search(r"^[ \t]*(?:!!!|\?\?\?|===|:::|--8<--)", text, re.M):
        return text
    kept: list[str] = []
    inside: list[int] = []
    for line in text.expandtabs(4).split("\n"):
        indent = len(line) - len(line.lstrip())
        while inside and line.strip() and indent < inside[-1] + 4:
            inside.pop()
        if found := _BLOCK.match(line):
            inside.append(indent)
            kept += ["", " " * max(0, indent - 4 * len(inside) + 4) + (found["a"] or found["b"] or ""), ""]
        elif found := _CONTAINER.match(line):
            kept += ["", (found["title"] or "").strip(), ""]
        else:
            kept.append(line[min(indent, 4 * len(inside)) :])
    return "\n".join(kept)

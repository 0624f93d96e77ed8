"""Prose of HTML: what a page shows, by Python's own parser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

from cogen.forge.account import CODE, COMMENT, NAVIGATION, TABLE, UNCLOSED, SourceAccount
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.extractors.prose import closed_names, is_prose, is_tag, prose_of, raised, row_text

_BLOCKS_NAMES = """
address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption
figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre section summary
table tbody td textarea tfoot th thead title tr ul
"""
_BLOCKS = frozenset(_BLOCKS_NAMES.split())
#: Elements whose text the page does not show.
_HIDDEN = frozenset(("script", "style", "template", "svg"))
#: Elements whose text is about the page.
_ABOUT = frozenset(("nav", "footer", "title", "select", "button", "noscript"))
_CELLS = ("td", "th")
_TABLE = (*_CELLS, "tr", "table")
_HELD = frozenset((*_HIDDEN, *_ABOUT, *_TABLE, "pre"))
#: Elements inside each other that are told apart; what is deeper is text of the last one.
_DEPTH = 100
#: Sections that the parser does not know, and would stop at.
_SECTION = re.compile(r"<!\[(?!CDATA\[|(?:if|else|endif)\b)", re.I)
#: ``</`` that ends nothing, and ``<!`` that declares nothing; the parser would take all up to the next ``>`` for it.
_NO_MARKUP = re.compile(
    r"<(?=/(?![A-Za-z][\w:.-]*\s*>)|!(?!--|\[|doctype\b|element\b|entity\b|attlist\b|notation\b))", re.I
)


def html(member: SourceFile) -> Pieces:
    """The whole page as one text."""
    yield member.name, html_text(member.text, member.account, closed_names(member.text))


def html_text(text: str, account: SourceAccount, closed: frozenset[str]) -> str:
    """Paragraphs of a page, or of a part of it.

    :param closed: names of the tags that are closed somewhere; see :func:`cogen.forge.extractors.prose.is_tag`.
    """
    reader = _Page(account, closed)
    reader.feed(_with_ends(text))
    reader.close()
    return reader.result()


def _with_ends(text: str) -> str:
    """With ``<`` as text where no ``>`` follows, and comments as text that nobody closes."""
    end = text.rfind("-->") + 1
    text = text[:end] + text[end:].replace("<!--", "&lt;!--")
    end = text.rfind(">") + 1
    return _NO_MARKUP.sub("&lt;", _SECTION.sub("&lt;![", text[:end])) + text[end:].replace("<", "&lt;")


@dataclass
class _OpenElement:
    """An element that is open. ``rows``: has the table given one; ``header``: names of its columns."""

    name: str
    parts: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    heads: int = 0
    header: list[str] = field(default_factory=list)
    rows: int = 0
    #: A cell over several rows or columns: no telling which column a cell belongs to.
    spans: bool = False


class _Page(HTMLParser):
    def __init__(self, account: SourceAccount, closed: frozenset[str]) -> None:
        super().__init__()
        self._account, self._closed = account, closed
        self._open = [_OpenElement("")]
        self._at_end = False
        self._raised = False

    def result(self) -> str:
        """The text, after everything that is still open was closed."""
        self._at_end = True
        # Scripts that nobody closes stay in the parser of some Python versions.
        self._account.leave_out(UNCLOSED, self.rawdata)
        while len(self._open) > 1:
            self._close_last()
        return "".join(self._open[0].parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raw = self.get_starttag_text() or ""
        if not is_tag(raw, self._closed):
            self.handle_data(raw)
            return
        self._raised = tag == "sup"
        if tag == "br":
            self._write("\n")
        elif tag in _BLOCKS:
            self._write("\n\n")
        if tag in ("td", "th", "tr"):  # both may be left open
            self._close_in_table(_CELLS if tag in _CELLS else (*_CELLS, "tr"))
            if any(name in ("colspan", "rowspan") and value not in (None, "", "1") for name, value in attrs):
                self._table().spans = True
        if tag in _HELD and len(self._open) < _DEPTH:
            self._open.append(_OpenElement(tag))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """``<br/>``; only in XML does ``<p/>`` end the paragraph, and there it has none."""
        self.handle_starttag(tag, attrs)
        if tag in _HELD:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _HELD and any(element.name == tag for element in self._open):
            while self._open[-1].name != tag:
                self._close_last(lost=tag not in _TABLE)
            self._close_last()
        if tag in _BLOCKS:
            self._write("\n\n")

    def handle_data(self, data: str) -> None:
        parts = self._open[-1].parts
        self._write(raised(parts[-1] if parts else "", data) if self._raised else data)
        self._raised = False

    def handle_comment(self, data: str) -> None:
        self._account.leave_out(COMMENT, data)

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA["):
            self._write(data[6:])

    def handle_pi(self, data: str) -> None:
        if not data[:1].isalpha():
            self._write(f"<?{data}>")

    def _write(self, text: str) -> None:
        self._open[-1].parts.append(text)

    def _table(self) -> _OpenElement:
        """The innermost table, or what stands for it."""
        return next((element for element in reversed(self._open) if element.name == "table"), self._open[0])

    def _close_in_table(self, names: tuple[str, ...]) -> None:
        inside = next((n for n, element in enumerate(reversed(self._open)) if element.name in ("table", "")), 0)
        for element in reversed(self._open[len(self._open) - inside :]):
            if element.name not in names:
                return
            self._close_last()

    def _close_last(self, lost: bool = False) -> None:
        """:param lost: closed by the end of another element, or not at all."""
        element = self._open.pop()
        text = "".join(element.parts)
        finish: Callable[[_OpenElement, str], str] = {
            **dict.fromkeys(_CELLS, self._cell),
            "tr": self._row,
            "table": self._whole_table,
            "pre": lambda _, text: "\n\n".join(prose_of(text, self._account)),
        }.get(element.name, lambda one, text: self._held(one, text, lost or self._at_end))
        self._write(finish(element, text))

    def _held(self, element: _OpenElement, text: str, unclosed: bool) -> str:
        if element.name in _HIDDEN:
            self._account.leave_out(UNCLOSED if unclosed else CODE, text)
            return ""
        if unclosed:  # what comes after a menu that nobody closes is no menu
            return text
        return "\n\n" + "\n\n".join(prose_of(text, self._account, NAVIGATION)) + "\n\n"

    def _cell(self, element: _OpenElement, text: str) -> str:
        row = self._open[-1]
        if row.name != "tr":
            return f"\n\n{text}\n\n"
        row.cells.append(text)
        row.heads += element.name == "th"
        return ""

    def _row(self, element: _OpenElement, text: str) -> str:
        table = self._table()
        beside = f"\n\n{text}\n\n" if text.strip() else ""
        table.rows += 1
        names = len(element.cells) > 1 and element.heads == len(element.cells) and table.name == "table"
        if names and table.rows == 1 and not any(is_prose(cell, marked=False) for cell in element.cells):
            table.header = [" ".join(cell.split()) for cell in element.cells]
            return beside
        header = [] if table.spans else table.header
        return f"{beside}\n\n{row_text(header, element.cells, self._account)}\n\n"

    def _whole_table(self, element: _OpenElement, text: str) -> str:
        self._account.leave_out(TABLE, "".join(element.header))
        return f"\n\n{text}\n\n"

"""What tells prose from code, from rows of numbers, and text with ``<`` in it from tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import regex

from cogen.forge.account import CODE, TABLE, SourceAccount
from cogen.text.scripts import LETTERS_UNSPACED

_UNSPACED = regex.compile(f"[{LETTERS_UNSPACED}]", regex.V1)
_SENTENCE_END = regex.compile(r"[\p{SB=STerm}\p{SB=ATerm}][\p{SB=Close}]*(?:\s|$)")
_LETTER = regex.compile(r"\p{L}")
#: A word that prose hardly has: a call, an index, an assignment, an option, a name with underscores.
_CODE_WORD = re.compile(r"\w\(|\)\.|[{}\[\]=_\\|$@#`]|::|->|^--?[^\W\d]|^\.\w|^[+*/&%!~^]+$")
#: A line that is a command, a statement, or ends as one.
_CODE_LINE = re.compile(
    r"^\s*(?:[$>%]\s|>>>|\.\.\.\s|//|/\*|#include|@\w|"
    r"(?:pip|git|npm|cd|ls|cp|mv|rm|sudo|docker|conda|curl|wget|apt|apt-get|brew|make|python3?|cogen)\s+\S|"
    r"import\s+\w+(?:\s+as\s+\w+)?\s*$|from\s+\S+\s+import\s|(?:def|class)\s+\w+\s*[(:]|return\b.*\)$)|[;{}]\s*$"
)
_BLANK = re.compile(r"\n[^\S\n]*\n\s*")


def is_prose(text: str, *, marked: bool = True) -> bool:
    """Sentences that a reader would read, or code, console output, rows of numbers?

    :param marked: the text stands where code usually does, so that a few words without the end of a sentence are none.
    """
    solid = "".join(text.split())
    if (unspaced := len(_UNSPACED.findall(solid))) >= (4 if marked else 2) and 10 * unspaced >= 4 * len(solid):
        return True
    words, lines = text.split(), [line for line in text.splitlines() if line.strip()]
    if len(words) < (6 if marked else 3) or 10 * sum(1 for word in words if _LETTER.search(word)) < 6 * len(words):
        return False
    if 100 * sum(1 for word in words if _CODE_WORD.search(word)) > 15 * len(words):
        return False
    if 2 * sum(1 for line in lines if _CODE_LINE.search(line)) >= len(lines):
        return False
    return not marked or _SENTENCE_END.search(text) is not None or len(words) >= 12 * len(lines)


def prose_of(text: str, account: SourceAccount, reason: str = CODE, *, marked: bool = True) -> Iterator[str]:
    """The paragraphs of a text that are prose; the others are counted under ``reason``."""
    for block in _BLANK.split(text):
        if is_prose(block, marked=marked):
            yield block
        else:
            account.leave_out(reason, block)


def raised(before: str, text: str) -> str:
    """Superscript text: ``10<sup>9</sup>`` is 10^9, and not 109; ``1<sup>st</sup>`` is 1st."""
    return "^" + text if before[-1:].isalnum() and text.lstrip()[:1] in tuple("0123456789+-−–") else text


def row_text(header: Sequence[str], cells: Sequence[str], account: SourceAccount) -> str:
    """A row of a table as text, each cell with its column's name; empty, and counted, where no cell is a sentence.

    :param header: names of the columns; as many as there are cells, or they are not named.
    """
    filled = [cell for cell in cells if cell.strip()]
    if not any(is_prose(cell, marked=False) for cell in filled):
        account.leave_out(TABLE, "".join(filled))
        return ""
    if len(filled) == 1 or any(_BLANK.search(cell.strip()) for cell in filled):
        return "\n\n".join(cell.strip() for cell in filled)
    names = [name.strip() for name in header] if len(header) == len(cells) else [""] * len(cells)
    pairs = [(name, cell.strip()) for name, cell in zip(names, cells, strict=True) if cell.strip()]
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs)


#: Elements of HTML, those of before HTML5 as well (https://html.spec.whatwg.org/multipage/indices.html).
_ELEMENTS_NAMES = """
a abbr acronym address applet area article aside audio b base basefont bdi bdo big blink blockquote body br
button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em
embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr
html i iframe img input ins kbd label legend li link main map mark marquee math menu meta meter nav nobr
noframes noscript object ol optgroup option output p param picture pre progress q rb rp rt rtc ruby s samp
script search section select slot small source span strike strong style sub summary sup svg table tbody td
template textarea tfoot th thead time title tr track tt u ul var video wbr
"""
_ELEMENTS = frozenset(_ELEMENTS_NAMES.split())
#: Elements that are variables elsewhere (``a<b>c``): tags where the text closes them.
_LETTERS = frozenset("abiqsu")
#: Attributes that have no value.
_BOOLEAN_NAMES = """
allowfullscreen async autofocus autoplay border checked compact controls crossorigin declare default defer
disabled download formnovalidate hidden inert ismap itemscope loop multiple muted nohref nomodule noresize
noshade novalidate nowrap open playsinline readonly required reversed scoped seamless selected
"""
_BOOLEAN = frozenset(_BOOLEAN_NAMES.split())
_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")
_ATTRIBUTE = re.compile(r"""([^\s=/>"'<]+)(\s*=\s*(?:"[^"]*"|'[^']*'|[^\s>"'<]+))?""")
#: Of programs' own: ``data-x``, ``v-else``, ``@click``, ``:value``.
_OWN_ATTRIBUTE = re.compile(r"[@:][\w.:-]+|[A-Za-z]+(?:[-:][A-Za-z][\w.]*)+")
_CLOSING = re.compile(r"</([A-Za-z][\w:.-]*)\s*>")


def closed_names(text: str) -> frozenset[str]:
    """Names of the tags that a text closes, in lower case."""
    return frozenset(name.lower() for name in _CLOSING.findall(text))


def is_tag(raw: str, closed: frozenset[str]) -> bool:
    """A tag, or text such as ``a <b and c> d`` and ``List<int>``, which only looks like one?

    :param raw: ``<name …>`` or ``</name>``.
    :param closed: names that the text closes elsewhere: those are tags, whatever they are called.
    """
    found = _TAG.match(raw)
    if found is None:
        return False
    name = found[2].lower()
    if found[1]:
        return name in _ELEMENTS or name in closed
    inside = raw[found.end() :].rstrip(">")
    if _ATTRIBUTE.sub("", inside).strip(" \t\r\n\f/\"'"):
        return False
    parts: list[tuple[str, str]] = _ATTRIBUTE.findall(inside)
    if not all(value or part.lower() in _BOOLEAN or _OWN_ATTRIBUTE.fullmatch(part) for part, value in parts):
        return False
    if name in _LETTERS and not parts:
        return name in closed
    return name in _ELEMENTS or name in closed or any(value for _, value in parts)

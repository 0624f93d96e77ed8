"""Prose out of files: each extractor turns one file into (group, text) pairs.

Pieces of one group (a file, a chapter, the children of one term) never stand on both sides of the
split. Code, tables, directives and console output are dropped: they are not what the expert should learn.
"""

from __future__ import annotations

import ast
import html.parser
import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

from cogen.errors import TrainError
from cogen.forge.recipe import CorpusSource

Pieces = Iterator[tuple[str, str]]


def extract(source: CorpusSource, name: str, data: bytes) -> Pieces:
    """(group, text) of everything that is prose in one member of a source."""
    text = data.decode("utf-8", errors="replace")
    try:
        for group, piece in _EXTRACTORS[source.extract](source, name, text):
            clean = tidy(piece)
            if clean:
                yield f"{source.name}:{group}", clean
    except (ValueError, ElementTree.ParseError) as error:
        raise TrainError(
            f"{name} of source {source.name!r} is not what extract = {source.extract!r} reads: {error}",
            hint="correct extract or members in the recipe",
        ) from error


def tidy(text: str) -> str:
    """Single spaces inside paragraphs, single blank lines between them, no control characters."""
    text = re.sub(r"<!--.*?-->", "", text.replace("\r", "").replace("\x00", ""), flags=re.S)
    text = re.sub(r"[^\S\n]+", " ", text)
    paragraphs = (re.sub(r"\s*\n\s*", " ", block).strip() for block in re.split(r"\n\s*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _text(source: CorpusSource, name: str, text: str) -> Pieces:
    yield name, text


_ROLE = re.compile(r":[\w:+.-]+:`([^`<]*?)\s*(?:<[^>]*>)?`")
_RST_LINK = re.compile(r"`([^`<]+?)\s*<[^>]+>`_{1,2}|`([^`]+)`_{0,2}")
_RULE = re.compile(r"^\s*([=\-~^\"'#*+`:.<>_])\1{2,}\s*$")


def _plain_rst(text: str) -> str:
    """reStructuredText without directives, tables, literal blocks, field lists and marks."""
    kept: list[str] = []
    skip_below: int | None = None
    literal = False
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if skip_below is not None:
            if not line.strip() or indent > skip_below:
                continue
            skip_below = None
        stripped = line.strip()
        if literal and stripped:
            literal = False
            if indent:
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
            literal = stripped.endswith("::")
            kept.append(line.replace("::", ":") if literal else line)
    plain = "\n".join(kept)
    plain = _ROLE.sub(lambda m: m[1].split(".")[-1].lstrip("~!"), plain)
    plain = _RST_LINK.sub(lambda m: m[1] or m[2], plain)
    return re.sub(
        r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*|``([^`\n]+)``|\[\d+\]_", lambda m: m[1] or m[2] or m[3] or "", plain
    )


def _rst(source: CorpusSource, name: str, text: str) -> Pieces:
    yield name, _plain_rst(text)


def _markdown(source: CorpusSource, name: str, text: str) -> Pieces:
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"^(```|~~~|:::).*?^\1\s*$", "\n", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->|!\[[^\]]*\]\([^)]*\)|<[^>\n]+>", "", text, flags=re.S)
    text = re.sub(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    noise = r"^\s*\||^\s{4,}\S|^\s*[-=*_]{3,}\s*$|^\s*(!!!|\?\?\?|===|--8<--)"
    lines = [line for line in text.split("\n") if not re.match(noise, line)]
    plain = re.sub(r"^#{1,6}\s*(.*?)\s*#*$", r"\n\1\n", "\n".join(lines), flags=re.M)
    yield name, re.sub(r"[*_`]{1,3}([^*_`\n]+)[*_`]{1,3}", r"\1", plain)


def _docstrings(source: CorpusSource, name: str, text: str) -> Pieces:
    """Docstrings of at least 200 characters: modules, classes, functions."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of other people's escapes
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and len(docstring) >= 200:
                yield name, _plain_rst(inspect.cleandoc(docstring))


class _Paragraphs(html.parser.HTMLParser):
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


def _html(source: CorpusSource, name: str, text: str) -> Pieces:
    parser = _Paragraphs()
    parser.feed(text)
    yield name, "".join(parser.parts)


def _json(source: CorpusSource, name: str, text: str) -> Pieces:
    """Strings at ``field``, a dotted path in which ``*`` is every element; JSON or JSON Lines."""
    try:
        values: list[Any] = [json.loads(text)]
    except ValueError:
        values = [json.loads(line) for line in text.splitlines() if line.strip()]
    for part in source.field.split("."):
        step: list[Any] = []
        for value in values:
            if part == "*":
                step.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else [])
            elif isinstance(value, dict) and part in value:
                step.append(value[part])
        values = step
    for value in values:
        if isinstance(value, str):
            # Entries of one file are independent texts: each is its own group.
            yield f"{name}#{hash_of(value)}", value


def hash_of(text: str) -> str:
    """Short stable name of a text."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _obo(source: CorpusSource, name: str, text: str) -> Pieces:
    """Terms of an OBO ontology as a definition each; children of one parent are one group."""
    for stanza in re.split(r"\n\[", text):
        if not stanza.startswith("Term]") or "is_obsolete: true" in stanza:
            continue
        fields: dict[str, list[str]] = {}
        for line in stanza.splitlines()[1:]:
            key, _, value = line.partition(": ")
            fields.setdefault(key, []).append(value)
        quoted = [
            re.findall(r'"((?:[^"\\]|\\.)*)"', value) for value in fields.get("def", []) + fields.get("synonym", [])
        ]
        if "name" not in fields or "def" not in fields or not quoted or not quoted[0]:
            continue
        definition, synonyms = quoted[0][0], [item[0] for item in quoted[1:] if item]
        also = f" Also called: {'; '.join(synonyms[:6])}." if synonyms else ""
        comment = " " + " ".join(fields["comment"]) if "comment" in fields else ""
        parent = fields.get("is_a", ["root"])[0].split(" ! ")
        kind = f" It is a kind of {parent[1].strip().lower()}." if len(parent) > 1 else ""
        yield (
            f"{name}#{parent[0]}",
            f"{fields['name'][0]}: {definition}{comment}{also}{kind}".replace('\\"', '"').replace("\\n", " "),
        )


def _icd10(source: CorpusSource, name: str, text: str) -> Pieces:
    """ICD-10-CM tabular list: one text a three-character category; categories of one section are one group."""
    labels = {
        "includes": "Includes",
        "inclusionTerm": "Such as",
        "excludes1": "Excludes",
        "excludes2": "Not included here",
        "codeFirst": "Code first",
        "useAdditionalCode": "Use additional code",
        "notes": "Note",
    }

    def describe(node: ElementTree.Element) -> Iterator[str]:
        yield f"{node.findtext('desc', '').strip()} ({node.findtext('name', '').strip()})."
        for tag, label in labels.items():
            notes = [(note.text or "").strip() for note in node.findall(f"{tag}/note")]
            if notes:
                yield f"{label}: {'; '.join(notes)}."
        for child in node.findall("diag"):
            yield from describe(child)

    for chapter in ElementTree.fromstring(text).iter("chapter"):
        for section in chapter.iter("section"):
            for category in section.findall("diag"):
                yield f"{name}#{section.get('id')}", " ".join(describe(category))


def _idd(source: CorpusSource, name: str, text: str) -> Pieces:
    """EnergyPlus data dictionary: memo and field notes of one object are one text; a \\group is one group."""
    group, title, notes, field = "", "", list[str](), ""

    def finish() -> Pieces:
        if title and notes:
            yield f"{name}#{group}", f"{title}. " + " ".join(notes)

    for raw in text.splitlines():
        line = raw.split("!")[0].rstrip()
        match = re.search(r"\\(\S+)\s*(.*)$", line)
        if match and match[1] == "group":
            group = match[2]
        start = re.match(r"^([A-Za-z][\w:\- ]*),\s*$", line)
        if start:
            yield from finish()
            title, notes, field = start[1], [], ""
        elif match and match[1] == "field":
            field = match[2]
        elif match and match[1] in ("memo", "note") and match[2]:
            lead = f"{field}: " if field else ""
            field = ""
            notes.append(lead + match[2].strip())
    yield from finish()


_EXTRACTORS: dict[str, Callable[[CorpusSource, str, str], Pieces]] = {
    "text": _text,
    "rst": _rst,
    "markdown": _markdown,
    "docstrings": _docstrings,
    "html": _html,
    "json": _json,
    "obo": _obo,
    "icd10": _icd10,
    "idd": _idd,
}


def chunks(text: str, smallest: int, largest: int) -> Iterator[str]:
    """Documents of ``smallest`` to ``largest`` characters, cut between paragraphs or sentences, in order."""
    if smallest > largest:
        raise TrainError("min_characters is larger than max_characters", hint="correct [corpus] in the recipe")
    current = ""
    for paragraph in text.split("\n\n"):
        pieces = [paragraph] if len(paragraph) <= largest else re.split(r"(?<=[.;:!?])\s+", paragraph)
        for index, piece in enumerate(pieces):
            joint = "\n\n" if index == 0 else " "
            if current and len(current) + len(joint) + len(piece) > largest:
                if len(current) >= smallest:
                    yield current
                current = ""
            current = f"{current}{joint}{piece}" if current else piece
            if len(current) > largest:  # one sentence longer than a document: a list or a table, not prose
                current = ""
    if len(current) >= smallest:
        yield current

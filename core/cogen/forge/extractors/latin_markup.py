"""reStructuredText and HTML as CoGen read them at first, for recipes with segmentation ``latin``: bit for bit."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from cogen.forge.extractors.member import Pieces, SourceFile

_ROLE = re.compile(r":[\w:+.-]+:`([^`<]*?)\s*(?:<[^>]*>)?`")
_RST_LINK = re.compile(r"`([^`<]+?)\s*<[^>]+>`_{1,2}|`([^`]+)`_{0,2}")
_RULE = re.compile(r"^\s*([=\-~^\"'#*+`:.<>_])\1{2,}\s*$")


def plain_rst(text: str) -> str:
    """reStructuredText without directives, tables, literal blocks, field lists and marks.

    A blank line ends a literal block before it begins, and double backquotes stay single ones.
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
                opened = 0
                line = line.replace("::", ":")
            literal = opens
            kept.append(line)
    plain = "\n".join(kept)
    plain = _ROLE.sub(lambda m: m[1].split(".")[-1].lstrip("~!"), plain)
    plain = _RST_LINK.sub(lambda m: m[1] or m[2], plain)
    return re.sub(
        r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*|``([^`\n]+)``|\[\d+\]_", lambda m: m[1] or m[2] or m[3] or "", plain
    )


def rst(member: SourceFile) -> Pieces:
    """The whole file as one text."""
    yield member.name, plain_rst(member.text)


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

"""Text of Word files (.docx), by python-docx."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from cogen.errors import TrainError
from cogen.extras import require
from cogen.forge.account import COMMENT, DELETED, REPEATED, SYMBOL
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.extractors.prose import raised

#: Bytes that a file may have unpacked. XML of text packs to about a tenth; more than this is an attack.
_UNPACKED_LIMIT = 256 << 20
#: Beginning of the older format (.doc), which is also what Word makes of an encrypted .docx.
_OLD_FORMAT = bytes.fromhex("d0cf11e0a1b11ae1")
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
#: Parts beside the text, by the end of their relation's name, and what their text counts as.
_BESIDE = {"/header": REPEATED, "/footer": REPEATED, "/comments": COMMENT}
#: What documents insert from the font Symbol, whose characters have no code of their own in the file.
_SYMBOLS = dict(zip(b"abcdefghiklmnopqrstuwxyz", "αβχδεφγηικλμνοπθρστυωξψζ", strict=True))
_SYMBOLS |= dict(zip(b"DWSF-\xa3\xb3\xb1\xb0\xb4\xb8", "ΔΩΣΦ−≤≥±°×÷", strict=True))
_SYMBOLS |= dict(zip(b"\xb9\xbb\xa5\xac\xad\xae\xaf\xb7\xd6", "≠≈∞←↑→↓·√", strict=True))


def texts(member: SourceFile) -> Pieces:
    """Paragraphs in reading order, those of tables, text boxes and content controls as well, and the notes after them.

    Text that was deleted with tracked changes is not read; inserted text is. Powers stay powers, and formulas are
    written in one line. Running headers and footers, comments and deleted text are counted as left out.

    :raises TrainError: encrypted, an older format, damaged, or unreasonably large when unpacked.
    """
    require("documents", 'extract = "docx"')
    _check_archive(member)
    import docx
    from docx.oxml import parse_xml
    from docx.oxml.ns import qn

    try:
        document = docx.Document(io.BytesIO(member.data))
        notes = [
            parse_xml(relation.target_part.blob)
            for relation in document.part.rels.values()
            if not relation.is_external and relation.reltype.endswith(("/footnotes", "/endnotes"))
        ]
        paragraphs = [p for root in (document.element.body, *notes) for p in _paragraphs(root, qn, member)]
        if not member.latin:
            _count_others(document, (document.element.body, *notes), qn, parse_xml, member)
    except (KeyError, ValueError, AttributeError, SyntaxError, zipfile.BadZipFile) as error:
        # lxml's errors are SyntaxErrors; elements of other names than Word's have not their attributes
        raise _refused(member, "is damaged, or no Word file", "leave it out with `exclude`") from error
    yield member.name, "\n\n".join(paragraphs)


def _check_archive(member: SourceFile) -> None:
    if member.data.startswith(_OLD_FORMAT):
        raise _refused(member, "is encrypted, or in the older format .doc", "save it as .docx without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(member.data)) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise _refused(member, "is damaged, or no Word file", "leave it out with `exclude`") from error
    if size > _UNPACKED_LIMIT:
        raise _refused(
            member,
            f"unpacks to {size / 1e6:,.0f} MB, where {_UNPACKED_LIMIT / 1e6:,.0f} are allowed",
            "leave it out with `exclude`, or save its text as a text file",
        )


def _refused(member: SourceFile, what: str, hint: str) -> TrainError:
    return TrainError(f"{member.name} of source {member.source.name!r} {what}", hint=hint)


def _count_others(document: Any, roots: tuple[Any, ...], qn: Any, parse_xml: Any, member: SourceFile) -> None:
    """What is not read: deleted text, running headers and footers, comments."""
    for root in roots:
        member.account.leave_out(DELETED, "".join(node.text or "" for node in root.iter(qn("w:delText"))))
    for relation in document.part.rels.values():
        reason = next((reason for end, reason in _BESIDE.items() if relation.reltype.endswith(end)), None)
        if reason is not None and not relation.is_external:
            texts = parse_xml(relation.target_part.blob).iter(qn("w:t"))
            member.account.leave_out(reason, "".join(node.text or "" for node in texts))


def _paragraphs(root: Any, qn: Any, member: SourceFile) -> Iterator[str]:
    """The text of each paragraph that has any; what stands in two forms (text boxes) counts once."""
    marks = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
    more = () if member.latin else (qn("w:sym"), f"{_MATH}oMath")
    found: dict[Any, list[str]] = {}
    for node in root.iter(qn("w:p"), qn("w:t"), *marks, *more):
        if next(node.iterancestors(_FALLBACK), None) is not None:
            continue
        if node.tag == qn("w:p"):
            found[node] = []
            continue
        owner = next(node.iterancestors(qn("w:p")), None)
        if owner not in found:
            continue
        if node.tag == f"{_MATH}oMath":
            found[owner].append(_line(node))
        # A tab inside a paragraph's properties is a tab stop, not a character.
        elif node.getparent().tag == qn("w:r"):
            text = _symbol(node, qn, member) if node.tag == qn("w:sym") else marks.get(node.tag, node.text or "")
            raises = not member.latin and _is_raised(node.getparent(), qn)
            found[owner].append(raised("".join(found[owner][-1:]), text) if raises else text)
    yield from (text for parts in found.values() if (text := "".join(parts).strip()))


def _is_raised(run: Any, qn: Any) -> bool:
    """Is the run superscript?"""
    place = run.find(f"{qn('w:rPr')}/{qn('w:vertAlign')}")
    return place is not None and place.get(qn("w:val")) == "superscript"


def _symbol(node: Any, qn: Any, member: SourceFile) -> str:
    """A character of a font; of fonts of pictures nobody can tell what it is."""
    code = int(node.get(qn("w:char"), "0"), 16)
    if 0xF000 <= code <= 0xF0FF:
        known = _SYMBOLS.get(code - 0xF000) if str(node.get(qn("w:font"), "")).lower() == "symbol" else None
        if known is None:
            member.account.leave_out(SYMBOL, 1)
        return known or " "
    return chr(code) if 0x20 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else ""


def _line(node: Any) -> str:
    """A formula in one line: ``10^9``, ``(a+b)/c``, ``√(x)``."""

    def part(name: str) -> str:
        return "".join(_line(one) for one in node.findall(_MATH + name))

    def grouped(text: str) -> str:
        return text if text.isalnum() else f"({text})"

    kind = str(node.tag).removeprefix(_MATH)
    if kind == "t":
        return node.text or ""
    if kind in ("sSup", "sSub", "sSubSup"):
        raised_part = f"^{grouped(part('sup'))}" if kind != "sSub" else ""
        return part("e") + part("sub") + raised_part
    if kind == "f":
        return f"{grouped(part('num'))}/{grouped(part('den'))}"
    if kind == "rad":
        return f"{part('deg')}√({part('e')})"
    if kind == "d":
        return f"({', '.join(_line(one) for one in node.findall(_MATH + 'e'))})"
    return "".join(_line(one) for one in node if str(one.tag).startswith(_MATH) and not str(one.tag).endswith("Pr"))

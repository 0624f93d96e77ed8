"""Text of Word files (.docx), by python-docx."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from cogen.errors import TrainError
from cogen.extras import require
from cogen.forge.extractors.member import Pieces, SourceFile

#: Bytes that a file may have unpacked. XML of text packs to about a tenth; more than this is an attack.
_UNPACKED_LIMIT = 256 << 20
#: Beginning of the older format (.doc), which is also what Word makes of an encrypted .docx.
_OLD_FORMAT = bytes.fromhex("d0cf11e0a1b11ae1")
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def texts(member: SourceFile) -> Pieces:
    """Paragraphs in reading order, those of tables, text boxes and content controls as well, and the notes after them.

    Text that was deleted with tracked changes is not read; inserted text is.

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
        paragraphs = [p for root in (document.element.body, *notes) for p in _paragraphs(root, qn)]
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


def _paragraphs(root: Any, qn: Any) -> Iterator[str]:
    """The text of each paragraph that has any; what stands in two forms (text boxes) counts once."""
    marks = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
    found: dict[Any, list[str]] = {}
    for node in root.iter(qn("w:p"), qn("w:t"), *marks):
        if next(node.iterancestors(_FALLBACK), None) is not None:
            continue
        if node.tag == qn("w:p"):
            found[node] = []
            continue
        owner = next(node.iterancestors(qn("w:p")), None)
        # A tab inside a paragraph's properties is a tab stop, not a character.
        if owner in found and node.getparent().tag == qn("w:r"):
            found[owner].append(node.text or "" if node.tag == qn("w:t") else marks[node.tag])
    yield from (text for parts in found.values() if (text := "".join(parts).strip()))

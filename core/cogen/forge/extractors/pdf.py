"""Text of PDF files, by pdfium (the library that Chrome reads them with)."""

from __future__ import annotations

import re
from collections import Counter
from statistics import median

import regex

from cogen.errors import TrainError
from cogen.extras import require
from cogen.forge.account import NO_TEXT_PAGE, REPEATED
from cogen.forge.extractors.member import Pieces, SourceFile

#: pdfium's error for a file that asks for a password (FPDF_ERR_PASSWORD, fpdfview.h).
_PASSWORD = 4
#: pdfium's mark for a hyphen that only a line end made.
_HYPHEN = re.compile("[\x02\ufffe](?:\r?\n)?")
_SENTENCE_ENDS = regex.compile(r"[\p{SB=STerm}\p{SB=ATerm}:：][\p{SB=Close}]*\s*$")
_NUMBERS = re.compile(r"\d+")


def texts(member: SourceFile) -> Pieces:
    """The text of the whole file: lines joined to paragraphs, without running headers, footers and page numbers.

    :raises TrainError: encrypted, damaged, or without any text (scanned).
    """
    pages = _pages(member)
    for page in pages:
        if page:
            member.account.pages += 1
        else:
            member.account.drop(NO_TEXT_PAGE, 0)
    if not any(pages):
        raise TrainError(
            f"{member.name} of source {member.source.name!r} has no text in {len(pages):,} pages: it was scanned",
            hint="recognise its text first, for instance with ocrmypdf, or leave it out with `exclude`",
        )
    yield member.name, _joined(_without_repeated(pages, member))


def _pages(member: SourceFile) -> list[list[str]]:
    """The lines of each page that are not empty."""
    require("documents", 'extract = "pdf"')
    import pypdfium2

    found = []
    try:
        with pypdfium2.PdfDocument(member.data) as document:
            for page in document:
                text = _HYPHEN.sub("", page.get_textpage().get_text_bounded())
                found.append([line.strip() for line in text.splitlines() if line.strip()])
    except pypdfium2.PdfiumError as error:
        locked = getattr(error, "err_code", None) == _PASSWORD
        what = "is encrypted" if locked else "is damaged, or no PDF file"
        raise TrainError(
            f"{member.name} of source {member.source.name!r} {what}",
            hint="save it without a password" if locked else "leave it out with `exclude`",
        ) from error
    return found


def _without_repeated(pages: list[list[str]], member: SourceFile) -> list[list[str]]:
    """Without first and last lines that stand on most pages, but for their numbers."""
    edges = Counter(shape for page in pages for shape in {_NUMBERS.sub("#", line) for line in (*page[:1], *page[-1:])})
    repeated = {shape for shape, count in edges.items() if count >= 3 and 2 * count > len(pages)}
    found = []
    for page in pages:
        kept = page
        for edge in (0, -1):
            if kept and _NUMBERS.sub("#", kept[edge]) in repeated:
                if member.latin:
                    member.account.drop(REPEATED, len(kept[edge].encode()))
                else:
                    member.account.leave_out(REPEATED, kept[edge])
                kept = kept[1:] if edge == 0 else kept[:-1]
        found.append(kept)
    return found


def _joined(pages: list[list[str]]) -> str:
    """Lines as paragraphs: one ends with a line that ends a sentence and is clearly shorter than the page's lines."""
    parts: list[str] = []
    for page in pages:
        usual = median(map(len, page)) if page else 0
        for line in page:
            ends = _SENTENCE_ENDS.search(line) is not None and len(line) < 0.85 * usual
            parts.append(line + ("\n\n" if ends else "\n"))
    return "".join(parts)

"""Prose out of files: each extractor turns one file into (group, text) pairs.

Pieces of one group (a file, a chapter, the children of one term) never stand on both sides of the
split. Code, numbers in tables, markup and console output are left out: they are not what the expert should learn. The
account has every byte of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from cogen.errors import TrainError
from cogen.forge.account import CODE, MARKUP, NO_PROSE, OUTSIDE_FIELD, SourceAccount, text_size
from cogen.forge.chats import Chat
from cogen.forge.extractors import html, latin_markdown, latin_markup, markdown, markup, rows, rst, vocabularies
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.recipe import CorpusSource, Segmentation
from cogen.text import latin
from cogen.text.decode import decode
from cogen.text.tidy import tidy
from cogen.text.undecodable import Undecodable

_EXTRACTORS: dict[str, Callable[[SourceFile], Pieces]] = {
    "text": lambda member: iter([(member.name, member.text)]),
    "rst": rst.rst,
    "markdown": markdown.markdown,
    "docstrings": markup.docstrings,
    "html": html.html,
    "xml": markup.xml,
    "obo": vocabularies.obo,
    "icd10": vocabularies.icd10,
    "idd": vocabularies.idd,
    "json": rows.json_texts,
    "csv": rows.csv_texts,
    "chat": rows.chats,
    "parquet": rows.table_texts,
    "datasets": rows.dataset_texts,
}
#: The same for recipes with segmentation ``latin``, where it changed since.
_LATIN: dict[str, Callable[[SourceFile], Pieces]] = {
    "rst": latin_markup.rst,
    "markdown": latin_markdown.markdown,
    "html": latin_markup.html,
}
#: What is left of a file's text beside its prose and what its extractor counts itself; "" where nothing is left.
_REST = {"text": "", "rst": MARKUP, "markdown": MARKUP, "html": MARKUP, "docstrings": CODE}
#: Formats that are not text, and where their extractor is; it needs the extra "documents".
_BINARY = {"pdf": "cogen.forge.extractors.pdf", "docx": "cogen.forge.extractors.docx"}


def extract(
    source: CorpusSource,
    name: str,
    data: bytes,
    account: SourceAccount | None = None,
    segmentation: Segmentation = "unicode",
) -> Pieces:
    """(group, text) of everything that is prose in one member of a source.

    :param account: counts what was read and what was left out.
    :raises TrainError: the file is not what ``extract`` reads, or no text in a known encoding.
    :raises MissingExtraError: the format needs a library that is not installed.
    """
    account = SourceAccount(source.name) if account is None else account
    older = segmentation == "latin"
    with _readable(source, name):
        member = _opened(source, name, data, account, segmentation)
        before, found = account.left_out_bytes, 0
        for group, piece in _extractor(source, older)(member):
            if tidied := latin.tidy(piece) if older else tidy(piece):
                found += text_size(tidied)
                yield f"{source.name}:{group}", tidied
        if not older:
            _account_for_rest(member, found, account.left_out_bytes - before)
        elif not found and data.strip():
            account.drop(NO_PROSE, len(data))


def _account_for_rest(member: SourceFile, found: int, left_out: int) -> None:
    """Whatever of a file's text is neither prose nor counted by its extractor: markup, other fields, or all of it."""
    kind, account = member.source.extract, member.account
    if is_binary(member.source, member.name):
        if not found and (kind == "docx" or not left_out) and member.data.strip():
            account.leave_out(NO_PROSE, 0, member.name)  # its bytes are of a container, not of a text
        return
    # An escape such as \\u4e2d stands for 3 bytes and takes 6.
    escapes = 3 * member.text.count("\\u") if kind in ("json", "chat", "datasets") else 0
    rest = text_size(member.text) - escapes - found - left_out
    if rest <= 0:
        return
    if not found and not left_out and kind not in ("docstrings", "datasets"):
        account.leave_out(NO_PROSE, rest, member.name)
    elif reason := _REST.get(kind, OUTSIDE_FIELD):
        account.leave_out(reason, rest)


def extract_chats(source: CorpusSource, name: str, data: bytes, account: SourceAccount) -> Iterator[tuple[str, Chat]]:
    """(group, conversation) of every row of one member of a source with ``extract = "chat"``.

    :raises TrainError: as :func:`extract`, and for a row that is no conversation with an answer.
    """
    with _readable(source, name):
        for group, chat in rows.conversations(_opened(source, name, data, account, "unicode")):
            yield f"{source.name}:{group}", chat


def _opened(
    source: CorpusSource, name: str, data: bytes, account: SourceAccount, segmentation: Segmentation
) -> SourceFile:
    account.files += 1
    account.file_bytes += len(data)
    text = "" if is_binary(source, name) else _text(source, name, data, account)
    return SourceFile(source, name, data, text, segmentation == "latin", account)


@contextmanager
def _readable(source: CorpusSource, name: str) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise TrainError(
            f"{name} of source {source.name!r} is nested too deeply to be read",
            hint="leave it out with `exclude`, or flatten it",
        ) from None
    except (ValueError, ElementTree.ParseError) as error:
        raise TrainError(
            f"{name} of source {source.name!r} is not what extract = {source.extract!r} reads: {error}",
            hint="correct extract or members in the recipe",
        ) from error


def is_binary(source: CorpusSource, name: str) -> bool:
    """Does the extractor read the file's bytes, not its text?"""
    return source.extract in (*_BINARY, "parquet") or rows.is_table_file(source, name)


def _extractor(source: CorpusSource, older: bool) -> Callable[[SourceFile], Pieces]:
    if older and source.extract in _LATIN:
        return _LATIN[source.extract]
    if source.extract not in _BINARY:
        return _EXTRACTORS[source.extract]
    found: Callable[[SourceFile], Pieces] = importlib.import_module(_BINARY[source.extract]).texts
    return found


def _text(source: CorpusSource, name: str, data: bytes, account: SourceAccount) -> str:
    try:
        found = decode(data, source.encoding)
    except Undecodable as error:
        raise TrainError(
            f"{name} of source {source.name!r}, at byte {error.offset:,}: {error}", hint=error.hint
        ) from error
    encoding = found.encoding.removesuffix("-sig")
    account.encodings[encoding if encoding == "utf-8" else f"{encoding} ({found.how})"] += 1
    return found.text

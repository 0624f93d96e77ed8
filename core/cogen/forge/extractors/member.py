"""What an extractor gets: one file of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cogen.forge.account import SourceAccount
from cogen.forge.recipe import CorpusSource

#: (group, text) of everything that is prose in a file.
Pieces = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    :param text: its content, for extractors that read text; empty for those that read ``data``.
    :param latin: read it as recipes with segmentation ``latin`` were.
    :param account: told about everything that is left out.
    """

    source: CorpusSource
    name: str
    data: bytes
    text: str
    latin: bool
    account: SourceAccount

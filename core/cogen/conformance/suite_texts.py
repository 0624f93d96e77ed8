"""The held-out texts of an expert as a model reads them: templates filled in, other fields left out."""

from __future__ import annotations

from typing import NamedTuple

from cogen.evals import read_rows, suites_of
from cogen.evals.settings import Split
from cogen.host import Expert


class HeldOut(NamedTuple):
    """One document; ``where`` names its file and number."""

    where: str
    part: Split
    text: str


def suite_texts(expert: Expert) -> list[HeldOut]:
    """All documents of all suites: the text itself, or what stands before the answer.

    :raises EvalError, DigestError, UnsafeError: a suite can't be read.
    """
    found = []
    parts: tuple[Split, ...] = ("dev", "test")
    for bound in suites_of(expert):
        for part in parts:
            for number, row in enumerate(read_rows(bound, part), 1):
                text = f"{row.description}{row.text}" or str(row.target)
                found.append(HeldOut(f"document {number} of {bound.data(part).path}", part, text))
    return found

"""The sample texts of an expert: one reader for `cogen check`, a registry's admission and every fusion."""

from __future__ import annotations

from pathlib import Path

from cogen.spec.suite import SAMPLES_LIMIT
from cogen.untrusted.json_lines import read_bytes, text_lines

_HINT = 'one {"text": "…"} a line; see docs/experts.md'


def read_samples(path: Path, owner: str) -> list[str]:
    """The text of each line, in the order of the file.

    :param owner: id of the expert, for errors.
    :raises SpecError: larger than :data:`~cogen.spec.suite.SAMPLES_LIMIT`, not UTF-8, or a line that is not an object
        with text in its field ``text``; the line is named by its number.
    """
    name = f"{owner}: {path.name}"
    return text_lines(read_bytes(path, name, limit=SAMPLES_LIMIT), name, hint=_HINT)

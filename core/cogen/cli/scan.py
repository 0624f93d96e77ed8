"""`cogen scan PATH`: personal data in texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out
from cogen.cli.progress import CommandReporter


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="recipe.toml, or a folder or file of texts.")],
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Language of the texts, for national telephone numbers. Repeatable."),
    ] = None,
) -> None:
    """Search texts for personal data: identity and card numbers, addresses, telephone numbers. Nothing is changed.

    Examples are masked and go to stderr. Names are not found: a text without a hit may still be about persons.
    `cogen train` does the same before it begins.
    """
    from cogen.api.scan import scan

    with CommandReporter("searching") as reporter:
        found = scan(path, languages=language, reporter=reporter)
    rows = [
        {"source": hits.source, "kind": hits.kind, "hits": hits.hits, "documents": hits.documents}
        for hits in found.found
    ]
    out.table(rows, title=f"personal data in {found.documents:,} documents")
    for note in found.notes:
        out.status(note)
    for line in found.contradictions:
        out.warn(line)
    out.result({"documents": found.documents, "found": rows, "contradictions": list(found.contradictions)})

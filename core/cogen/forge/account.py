"""What became of each source's text: read, kept, dropped and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cogen.errors import TrainError
from cogen.text.cut import NO_BOUNDARY, TOO_SHORT

#: Reasons that the recipe asked for: no loss.
MATCHED, TOO_MUCH, DUPLICATE = "matches a drop pattern", "beyond max_bytes", "near-copy of a document"
#: Reasons outside of the text that was read: counted in files, rows or pages and their bytes.
NOT_PYTHON, NO_PROSE, TOO_LARGE = "not Python 3", "file without prose", "larger than 64 MiB"
NO_FIELD, NO_TEXT_PAGE = "row without text at `field`", "page without text"
REPEATED = "running header or footer"
#: A cell with a separator in it that is not quoted: the text is cut there, so the row is not taken.
MORE_CELLS = "row with more cells than columns"
#: Reasons for which text is lost that the recipe meant to train on.
LOSSES = (TOO_SHORT, NO_BOUNDARY, TOO_LARGE, NO_TEXT_PAGE, MORE_CELLS)


@dataclass
class Dropped:
    """What was left out for one reason: how many pieces of text, files, rows or pages, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass
class SourceAccount:
    """The account of one source.

    ``file_bytes`` are of the files that its globs name; ``read_bytes`` of the prose that was found in them, in UTF-8.
    Of ``read_bytes``, ``kept_bytes`` became documents and the rest is in ``dropped``.
    """

    name: str
    files: int = 0
    file_bytes: int = 0
    read_bytes: int = 0
    kept_documents: int = 0
    kept_bytes: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    #: Encoding and how it was known → files.
    encodings: Counter[str] = field(default_factory=Counter)
    #: Pages that gave text, where the format has pages.
    pages: int = 0

    def drop(self, reason: str, size: int) -> None:
        """Count something that is left out; ``size`` in bytes, 0 where a row or page has none."""
        entry = self.dropped.setdefault(reason, Dropped())
        entry.count += 1
        entry.bytes += size

    @property
    def kept_share(self) -> float:
        """Share of the prose that became documents; 0 … 1."""
        return self.kept_bytes / self.read_bytes if self.read_bytes else 0.0

    @property
    def lost_share(self) -> float:
        """Share that was lost, not left out on request: of bytes, or of pages, whichever is greater."""
        lost = {reason: self.dropped[reason] for reason in LOSSES if reason in self.dropped}
        size = sum(entry.bytes for entry in lost.values())
        outside = sum(lost[reason].bytes for reason in (TOO_LARGE, MORE_CELLS) if reason in lost)
        empty = lost[NO_TEXT_PAGE].count if NO_TEXT_PAGE in lost else 0
        return max(size / (self.read_bytes + outside) if size else 0.0, empty / (empty + self.pages) if empty else 0.0)

    def reasons(self) -> str:
        """What was dropped and why, in one line; the largest first. Empty: nothing."""
        ordered = sorted(self.dropped.items(), key=lambda item: (-item[1].bytes, -item[1].count, item[0]))
        return "; ".join(f"{reason}: {entry.count:,} ({entry.bytes:,} bytes)" for reason, entry in ordered)

    def detected(self) -> str:
        """The encodings that were not plain UTF-8, in one line."""
        return ", ".join(f"{name}: {count:,}" for name, count in sorted(self.encodings.items()) if name != "utf-8")

    def line(self) -> str:
        """The account in one line, for people."""
        parts = [f"{self.name}: read {self.read_bytes:,} bytes of text in {self.files:,} files"]
        parts.append(f"kept {self.kept_share:.1%} in {self.kept_documents:,} documents")
        parts += [f"dropped {reasons}"] if (reasons := self.reasons()) else []
        parts += [f"encodings {detected}"] if (detected := self.detected()) else []
        return "; ".join(parts)

    def fields(self) -> dict[str, Any]:
        """The fields of :class:`cogen.spec.data.DataSource` that it fills."""
        return {
            "read_bytes": self.read_bytes,
            "kept_share": round(self.kept_share, 4),
            "dropped": self.reasons() or "nothing",
        }

    def json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "source": self.name,
            "files": self.files,
            "file_bytes": self.file_bytes,
            **self.fields(),
            "dropped": {reason: {"count": d.count, "bytes": d.bytes} for reason, d in sorted(self.dropped.items())},
            "documents": self.kept_documents,
            "kept_bytes": self.kept_bytes,
            "encodings": dict(sorted(self.encodings.items())),
        }


def check_loss(account: SourceAccount, allowed: float) -> None:
    """Stop where more text was lost than the recipe allows.

    :param allowed: the source's ``allow_loss``.
    :raises TrainError: with the account, and what mends the greatest loss.
    """
    if account.lost_share <= allowed:
        return
    lost = {reason: entry for reason, entry in account.dropped.items() if reason in LOSSES}
    worst = max(lost, key=lambda reason: (lost[reason].bytes, lost[reason].count))
    mend = {
        TOO_SHORT: "lower min_characters",
        NO_BOUNDARY: 'write segmentation = "unicode" under [corpus]',
        TOO_LARGE: "split the file",
        MORE_CELLS: "quote cells that hold the separator, or save the table as JSON Lines",
        NO_TEXT_PAGE: "recognise scanned pages first (OCR)",
    }[worst]
    raise TrainError(
        f"source {account.name!r} lost {account.lost_share:.0%} of its text, {allowed:.0%} are allowed: "
        f"{account.reasons()}",
        hint=f"{mend}; or accept the loss: allow_loss = {-(-account.lost_share * 100 // 1) / 100:g} in this source",
    )

"""What became of each source's text: read, kept, dropped and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cogen.errors import TrainError
from cogen.text.cut import NO_BOUNDARY, TOO_SHORT

#: Reasons that the recipe asked for: no loss.
MATCHED, TOO_MUCH, DUPLICATE = "matches a drop pattern", "beyond max_bytes", "near-copy of a document"
#: Parts of a file that are no prose, or that its readers do not see: counted in bytes without white space, and no loss.
MARKUP, CODE, COMMENT, TABLE = "markup", "code", "comment", "table row without a sentence"
NAVIGATION, IMAGE_TEXT, FIELDS = "navigation, title or footer", "text in place of an image", "field list"
FRONT_MATTER, DIRECTIVE, SHORT_DOCSTRING = "front matter", "directive", "docstring under 200 characters"
OUTSIDE_FIELD, REPEATED = "outside of what is extracted", "running header or footer"
DELETED, SYMBOL = "deleted by tracked changes", "symbol of a font, of unknown meaning"
NOT_PROSE = (
    *(MARKUP, CODE, COMMENT, TABLE, NAVIGATION, IMAGE_TEXT, FIELDS, FRONT_MATTER, DIRECTIVE, SHORT_DOCSTRING),
    *(OUTSIDE_FIELD, REPEATED, DELETED, SYMBOL),
)
#: Files, rows and pages that give nothing, and their bytes.
NOT_PYTHON, NO_PROSE, TOO_LARGE = "not Python 3", "file without prose", "larger than 64 MiB"
NO_FIELD, NO_TEXT_PAGE = "row without text at `field`", "page without text"
#: A cell with a separator in it that is not quoted: the text is cut there, so the row is not taken.
MORE_CELLS, FEWER_CELLS = "row with more cells than columns", "row that ends before `field`"
#: Text behind a tag that hides it and that nobody closes.
UNCLOSED = "inside a tag that is not closed"
#: Beside the files that are read.
LINKED, BROKEN_LINK, OTHER_CASE = "folder behind a link", "broken link", "differs from `members` only in letter case"
NO_FILE, NO_MATCH = "no plain file, or not readable", "glob of `members` that no file matches"
#: Reasons for which text is lost that the recipe meant to train on.
LOSSES = (
    *(TOO_SHORT, NO_BOUNDARY, TOO_LARGE, NO_TEXT_PAGE, MORE_CELLS, FEWER_CELLS, NO_FIELD, NO_PROSE, NOT_PYTHON),
    *(UNCLOSED, LINKED, OTHER_CASE),
)
#: Those that counted as losses at first: recipes with segmentation ``latin`` stop where they stopped then.
_OLDER_LOSSES = (TOO_SHORT, NO_BOUNDARY, TOO_LARGE, NO_TEXT_PAGE, MORE_CELLS)
#: Names of files that the account shows for one reason.
_SHOWN = 3


def text_size(text: str) -> int:
    """Bytes of a text in UTF-8 without white space and invisible marks: what is compared before and after."""
    return len("".join(text.replace("\x00", "").replace("\ufeff", "").split()).encode(errors="surrogatepass"))


@dataclass
class Dropped:
    """What was left out for one reason: how many pieces of text, files, rows or pages, and their bytes."""

    count: int = 0
    bytes: int = 0
    #: The first of the files' names, where they are left out as a whole.
    names: list[str] = field(default_factory=list, compare=False)


@dataclass
class SourceAccount:
    """The account of one source.

    ``file_bytes`` are of the files that its globs name; ``read_bytes`` of their text, in UTF-8: every byte of it is
    in ``kept_bytes``, which became documents, or in ``dropped``. White space between pieces of text counts nowhere. In
    recipes with segmentation ``latin``, ``read_bytes`` are of the prose that was found, as they were at first.
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

    #: Of a recipe with segmentation ``latin``.
    older: bool = False
    #: What :meth:`leave_out` counted so far, in bytes.
    left_out_bytes: int = 0

    def drop(self, reason: str, size: int, name: str = "") -> None:
        """Count something of ``read_bytes`` that is left out; ``size`` in bytes, 0 where a row or page has none."""
        entry = self.dropped.setdefault(reason, Dropped())
        entry.count += 1
        entry.bytes += size
        if name and len(entry.names) < _SHOWN:
            entry.names.append(name)

    def leave_out(self, reason: str, what: str | int, name: str = "") -> None:
        """Count text that no extractor yields, as read and as dropped; ``what`` is the text, or its size in bytes."""
        size = text_size(what) if isinstance(what, str) else what
        if size or name or not isinstance(what, str):
            self.drop(reason, size, name)
            self.read_bytes += size
            self.left_out_bytes += size

    @property
    def kept_share(self) -> float:
        """Share of the text that became documents; 0 … 1."""
        return self.kept_bytes / self.read_bytes if self.read_bytes else 0.0

    @property
    def lost_share(self) -> float:
        """Share of the prose that was lost, not left out on request: of bytes, or of pages, whichever is greater."""
        size = self._bytes(self._losses)
        if self.older:
            prose = self.read_bytes + self._bytes((TOO_LARGE, MORE_CELLS))
        else:
            prose = self.read_bytes - self._bytes(NOT_PROSE)
        empty = self.dropped[NO_TEXT_PAGE].count if NO_TEXT_PAGE in self.dropped else 0
        return max(min(1.0, size / max(prose, size)) if size else 0.0, empty / (empty + self.pages) if empty else 0.0)

    @property
    def _losses(self) -> tuple[str, ...]:
        return _OLDER_LOSSES if self.older else LOSSES

    def _bytes(self, reasons: tuple[str, ...]) -> int:
        return sum(self.dropped[reason].bytes for reason in reasons if reason in self.dropped)

    @property
    def losses(self) -> dict[str, Dropped]:
        """What counts as lost, by its reason."""
        return {reason: self.dropped[reason] for reason in self._losses if reason in self.dropped}

    def reasons(self, names: bool = False) -> str:
        """What was dropped and why, in one line; the largest first. Empty: nothing.

        :param names: with names of files, which are for the publisher alone.
        """
        ordered = sorted(self.dropped.items(), key=lambda item: (-item[1].bytes, -item[1].count, item[0]))
        return "; ".join(
            f"{reason}: {entry.count:,} ({entry.bytes:,} bytes{_shown(entry) if names else ''})"
            for reason, entry in ordered
        )

    def detected(self) -> str:
        """The encodings that were not plain UTF-8, in one line."""
        return ", ".join(f"{name}: {count:,}" for name, count in sorted(self.encodings.items()) if name != "utf-8")

    def line(self) -> str:
        """The account in one line, for people."""
        parts = [f"{self.name}: read {self.read_bytes:,} bytes of text in {self.files:,} files"]
        parts.append(f"kept {self.kept_share:.1%} in {self.kept_documents:,} documents")
        parts += [f"lost {lost:.1%} of the prose"] if (lost := self.lost_share) and not self.older else []
        parts += [f"dropped {reasons}"] if (reasons := self.reasons(names=True)) else []
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
            "dropped": {
                reason: {"count": d.count, "bytes": d.bytes} | ({"names": list(d.names)} if d.names else {})
                for reason, d in sorted(self.dropped.items())
            },
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
    lost = account.losses
    worst = max(lost, key=lambda reason: (lost[reason].bytes, lost[reason].count))
    mend = {
        TOO_SHORT: "lower min_characters",
        NO_BOUNDARY: 'write segmentation = "unicode" under [corpus]',
        TOO_LARGE: "split the file",
        MORE_CELLS: "quote cells that hold the separator, or save the table as JSON Lines",
        FEWER_CELLS: "give every row as many cells as there are columns, or save the table as JSON Lines",
        NO_FIELD: "correct field: a dotted path to the text, in which * is every element",
        NO_PROSE: "correct extract, field or members, or leave the files out with `exclude`",
        NOT_PYTHON: "correct extract or members, or leave the files out with `exclude`",
        UNCLOSED: "close the tag",
        LINKED: "put the files there, or make a source of the folder that the link names",
        OTHER_CASE: 'name them in members too, such as "**/*.TXT"',
        NO_TEXT_PAGE: "recognise scanned pages first (OCR)",
    }[worst]
    raise TrainError(
        f"source {account.name!r} lost {account.lost_share:.0%} of its text, {allowed:.0%} are allowed: "
        f"{account.reasons(names=True)}",
        hint=f"{mend}; or accept the loss: allow_loss = {-(-account.lost_share * 100 // 1) / 100:g} in this source",
    )


def _shown(entry: Dropped) -> str:
    """Some of the names, in a form that a terminal shows as one line."""
    if not entry.names:
        return ""
    names = ", ".join(ascii(name)[1:-1] if not name.isprintable() else name for name in entry.names)
    return f": {names}{', …' if entry.count > len(entry.names) else ''}"

"""The one sink for everything that the command line prints.

Results go to stdout, progress and messages to stderr. Three modes: ``human`` (tables, colours on a terminal), ``json``
(one JSON document on stdout) and ``quiet`` (the first column of a table, no messages). rich is imported only when a
terminal is there to show it: it costs 0.06 s, and `cogen list` has 0.3 s in all.
"""

from __future__ import annotations

import math
import os
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, TextIO

from cogen.cli.streams import speaks_unicode, write
from cogen.errors import UsageError
from cogen.untrusted.printable import escape_json, one_line, printable

Mode = Literal["human", "json", "quiet"]
_CODES = {"error": "1;31", "warning": "1;33", "hint": "36", "success": "32", "bold": "1"}


@dataclass(frozen=True)
class Column:
    """One column of a table: the key of a row, its heading and its alignment; ``shrinks``: may it be cut short?"""

    key: str
    header: str | None = None
    justify: Literal["left", "right"] = "left"
    shrinks: bool = False

    @property
    def title(self) -> str:
        return self.header if self.header is not None else self.key.replace("_", " ")


class Progress:
    """A running task; this class itself shows nothing (``--json``, ``--quiet``)."""

    def __init__(self, total: float | None = None) -> None:
        self.done: float = 0
        self.total = total

    def advance(self, n: float = 1) -> None:
        """``n`` more units are done."""
        self.done += n
        self._show()

    def describe(self, label: str) -> None:
        """Say what is being worked on now."""

    def _show(self) -> None:
        pass


class _Lines(Progress):
    """Progress as plain lines, at most one every ten seconds: for logs and pipes."""

    def __init__(self, sink: Output, total: float | None, label: str, unit: str) -> None:
        super().__init__(total)
        self._sink, self._label, self._unit = sink, label, unit
        self._start = self._last = time.monotonic()

    def describe(self, label: str) -> None:
        self._label = label

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._last >= 10:
            self._last = now
            of = f" of {self.total:,.0f}" if self.total else ""
            self._sink.status(f"{self._label}: {self.done:,.0f}{of} {self._unit}, {now - self._start:.0f} s".strip())


class _Bar(Progress):
    """Progress as a rich bar on a terminal."""

    def __init__(self, bar: Any, total: float | None, label: str) -> None:
        super().__init__(total)
        self._bar, self._task = bar, bar.add_task(label, total=total)

    def describe(self, label: str) -> None:
        self._bar.update(self._task, description=printable(label))

    def _show(self) -> None:
        self._bar.update(self._task, completed=self.done, total=self.total)


class Output:
    """See the module. Streams are looked up when written to, so that redirecting them works at any time."""

    def __init__(self, mode: Mode = "human", stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.mode: Mode = mode
        self._stdout, self._stderr = stdout, stderr

    @property
    def stdout(self) -> TextIO:
        return self._stdout or sys.stdout

    @property
    def stderr(self) -> TextIO:
        return self._stderr or sys.stderr

    def help(self, text: str) -> None:
        """The text of --help."""
        self._write(self.stdout, text)

    # ---- results, on stdout -------------------------------------------------------------------------

    def text(self, line: str = "") -> None:
        """A line for people; scripts read :meth:`result`."""
        if self.mode == "human":
            self._write(self.stdout, printable(line))

    def table(
        self,
        rows: Sequence[Any],
        columns: Sequence[str | Column] | None = None,
        *,
        title: str | None = None,
        width: int | None = None,
    ) -> None:
        """Rows (mappings, or sequences in the order of ``columns``) as an aligned table.

        :param width: columns of a terminal to fit into, by cutting cells of the columns that shrink.
        """
        heads, cells = _cells(rows, columns)
        if width is not None and self.mode == "human":
            cells = _fitted(heads, cells, width)
        if self.mode == "quiet":
            for row in cells:
                self._write(self.stdout, row[0])
        elif self.mode == "human" and heads:
            if title:
                self._write(self.stdout, self._paint("bold", printable(title), self.stdout))
            draw = self._rich_table if self.stdout.isatty() else self._plain_table
            draw(heads, cells)

    def result(self, data: Any, human: str | None = None) -> None:
        """The outcome of a verb: the one JSON document of ``--json``; ``human`` is what people read instead."""
        if self.mode == "json":
            import json

            escapes = not speaks_unicode(self.stdout)
            text = json.dumps(_plain(data), indent=2, ensure_ascii=escapes, allow_nan=False)
            self._write(self.stdout, escape_json(text))
        elif human is not None and self.mode == "human":
            self._write(self.stdout, printable(human))

    def stream(self, piece: str) -> None:
        """A piece of an answer, as it is generated."""
        write(self.stdout, printable(piece), result=True)

    # ---- messages, on stderr -------------------------------------------------------------------------

    def status(self, message: str) -> None:
        """What is going on."""
        if self.mode == "human":
            self._write(self.stderr, printable(message))

    def success(self, message: str) -> None:
        if self.mode == "human":
            self._write(self.stderr, self._paint("success", printable(message), self.stderr))

    def warn(self, message: str) -> None:
        """As errors and hints, on one line: text of others in it cannot pass for a message of its own."""
        self._write(self.stderr, f"{self._paint('warning', 'warning:', self.stderr)} {one_line(message)}")

    def error(self, message: str) -> None:
        self._write(self.stderr, f"{self._paint('error', 'error:', self.stderr)} {one_line(message)}")

    def hint(self, message: str) -> None:
        if self.mode != "quiet":
            self._write(self.stderr, f"{self._paint('hint', 'hint:', self.stderr)} {one_line(message)}")

    def confirm(self, question: str, *, yes: bool = False) -> bool:
        """Ask on a terminal; elsewhere ``--yes`` is required.

        :raises UsageError: not a terminal, and ``yes`` was not given.
        """
        if yes:
            return True
        if self.mode != "human" or not sys.stdin.isatty() or not self.stderr.isatty():
            raise UsageError(f"confirmation required: {question}", hint="pass --yes to agree")
        write(self.stderr, f"{printable(question)} [y/N] ", result=False)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextmanager
    def progress(self, total: float | None, label: str, unit: str = "") -> Iterator[Progress]:
        """A progress bar for anything that may take over two seconds; ``total`` None: unknown."""
        label = printable(label)
        if self.mode != "human":
            yield Progress(total)
        elif not self.stderr.isatty():
            start = time.monotonic()
            lines = _Lines(self, total, label, unit)
            yield lines
            if (seconds := time.monotonic() - start) >= 2:
                self.status(f"{label}: done in {seconds:.0f} s")
        else:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            parts = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            # rich would send what is printed to stdout to the bar's stream: right on a terminal, wrong for a pipe
            redirect = self.stdout.isatty()
            console = Console(file=self.stderr)
            with RichProgress(
                *parts, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=redirect
            ) as bar:
                yield _Bar(bar, total, label)

    # ---- drawing ---------------------------------------------------------------------------------

    def _write(self, stream: TextIO, text: str) -> None:
        write(stream, text + "\n", result=stream is self.stdout)

    def _paint(self, style: str, text: str, stream: TextIO) -> str:
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"

    def _plain_table(self, heads: list[Column], cells: list[list[str]]) -> None:
        widths = _widths(heads, cells)
        for line in [[h.title for h in heads], *cells]:
            padded = (_padded(cell, width, head.justify) for head, cell, width in zip(heads, line, widths, strict=True))
            self._write(self.stdout, "  ".join(padded).rstrip())

    def _rich_table(self, heads: list[Column], cells: list[list[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for head in heads:
            table.add_column(head.title, justify=head.justify, overflow="fold")
        for row in cells:
            table.add_row(*(escape(cell) for cell in row))
        Console(file=self.stdout).print(table)


def _columns(text: str) -> int:
    """Columns that a text takes on a terminal: a Chinese character takes two, a combining mark none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _padded(text: str, width: int, justify: str) -> str:
    space = " " * (width - _columns(text))
    return space + text if justify == "right" else text + space


def _widths(heads: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(_columns(line[i]) for line in [[h.title for h in heads], *cells]) for i in range(len(heads))]


def _fitted(heads: list[Column], cells: list[list[str]], width: int) -> list[list[str]]:
    """Cells cut short, the widest column first, until the table fits or nothing more can be cut."""
    widths, least = _widths(heads, cells), 12
    shrinking = [i for i, head in enumerate(heads) if head.shrinks]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(shrinking, key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= least:
            break
        widths[widest] -= 1
    return [
        [
            cell if _columns(cell) <= most else _cut(cell, most - 1) + "…"
            for cell, most in zip(line, widths, strict=True)
        ]
        for line in cells
    ]


def _cut(text: str, width: int) -> str:
    while _columns(text) > width:
        text = text[:-1]
    return text.rstrip()


def _cells(rows: Sequence[Any], columns: Sequence[str | Column] | None) -> tuple[list[Column], list[list[str]]]:
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [
        [_cell(row.get(h.key) if isinstance(row, Mapping) else row[i]) for i, h in enumerate(heads)] for row in rows
    ]
    return heads, cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # One line: a line feed in a cell would begin a row that nobody wrote.
    return one_line(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)


def _plain(value: Any) -> Any:
    """Turn models, dataclasses, paths and tuples into what JSON knows."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON knows no NaN
    if isinstance(value, str | int | bool) or value is None:
        return value
    if hasattr(value, "item"):  # a scalar of numpy or torch
        return _plain(value.item())
    return str(value)


#: The sink of this process; :func:`cogen.cli.main.main` sets its mode.
out = Output()

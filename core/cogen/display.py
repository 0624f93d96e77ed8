"""Tables of plans and matrices: HTML for notebooks (small, escaped, without scripts), and plain text for ``print``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], lines: Iterable[str] = ()) -> str:
    """A heading, a table and lines below it; every text is escaped. Columns of numbers are aligned to the right."""
    body = [[("" if cell is None else cell) for cell in row] for row in rows]
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    cells = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)
    below = "".join(f"<div>{escape(line)}</div>" for line in lines if line)
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>" if body else ""
    return f"<div><strong>{escape(title)}</strong>{grid}{below}</div>"


def plain(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The same as text: the first column to the left, all others to the right."""
    lines = [list(heads), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return "\n".join([title, *("  ".join(line).rstrip() for line in aligned)])


def _text(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td style="text-align:right">{value:.3f}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td style="text-align:right">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"

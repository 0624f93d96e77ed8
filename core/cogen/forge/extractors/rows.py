"""Text of files that are rows: JSON, JSON Lines, CSV, Parquet, and the files of a `datasets` folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from cogen.errors import TrainError
from cogen.extras import require
from cogen.forge.account import FEWER_CELLS, MORE_CELLS, NO_FIELD, text_size
from cogen.forge.chats import Chat, json_rows, read_chat, read_chats, row_text
from cogen.forge.extractors.member import Pieces, SourceFile
from cogen.forge.recipe import CorpusSource

#: Files of a dataset that are tables in Arrow's formats: `save_to_disk` writes .arrow, the Hub has .parquet.
_TABLES = (".parquet", ".arrow")
#: Characters of a column's name, and how many columns a message names, at most.
_NAME, _COLUMNS = 40, 30
_NUMBER = re.compile(r"[\d.,:/+-]*\d[\d.,:/+-]*")
#: What `save_to_disk` and the Hub write beside the data.
_NOTES = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")


def is_table_file(source: CorpusSource, name: str) -> bool:
    """Does the extractor read this file's bytes, not its text?"""
    return source.extract in ("datasets", "chat") and name.endswith(_TABLES)


def json_texts(member: SourceFile) -> Pieces:
    """Strings at ``field``, a dotted path in which ``*`` is every element; JSON or JSON Lines.

    A list at the top is its elements, a list of strings one text, and a name that stands twice in an object has both.
    """
    if member.latin:
        return _latin_texts(member, json_values(member.text))
    values = json_values(member.text, _both)
    if len(values) == 1 and isinstance(values[0], list) and member.source.field.partition(".")[0] != "*":
        values = values[0]
    return _texts(member, values)


def csv_texts(member: SourceFile) -> Pieces:
    """Column ``field`` of a file whose first row names the columns."""
    rows = list(_whole_rows(member, "" if member.latin else None))
    if rows:
        _check_column(member, list(rows[0]))
    return _latin_texts(member, rows) if member.latin else _texts(member, _complete(member, rows))


def table_texts(member: SourceFile) -> Pieces:
    """Column ``field`` of a Parquet file; a dotted path goes into structures and lists."""
    return _column_texts(member, table_rows(member))


def dataset_texts(member: SourceFile) -> Pieces:
    """Column ``field`` of a file of a dataset's folder, as `save_to_disk` writes it or the Hub stores it."""
    return _column_texts(member, dataset_rows(member))


def chats(member: SourceFile) -> Pieces:
    """Conversations and instructions of JSON, JSON Lines, CSV, Parquet or Arrow files, each as one text."""
    for number, row in enumerate(dataset_rows(member), 1):
        text = row_text(row, member.source.field)
        if text is None:
            _no_field(member, row)
        elif text:
            yield f"{member.name}#{number}-{hash_of(text)}", text


def conversations(member: SourceFile) -> Iterator[tuple[str, Chat]]:
    """(name and row, conversation) of the same files, for training that learns conversations as such.

    :raises TrainError: a row that is no conversation with an answer, by its number.
    """
    name = member.name.rpartition("/")[2].lower()
    if name in _NOTES or name.endswith((*_TABLES, ".csv", ".tsv")):
        for number, row in enumerate(dataset_rows(member), 1):
            yield f"{member.name}#{number}", read_chat(row, member.source.field, f"{member.name} row {number}")
    else:
        yield from read_chats(member.name, member.text, member.source.field)


def dataset_rows(member: SourceFile) -> Iterator[Any]:
    """The rows of one file, by its suffix; none of the notes beside the data."""
    name = member.name.rpartition("/")[2].lower()
    if name in _NOTES:
        return iter(())
    if name.endswith(_TABLES):
        return table_rows(member)
    if name.endswith((".csv", ".tsv")):
        return _whole_rows(member)
    if name.endswith((".json", ".jsonl", ".ndjson")):
        return (row for _, row in json_rows(member.text))
    raise ValueError("a dataset's file ends in .parquet, .arrow, .csv, .tsv, .json, .jsonl or .ndjson")


def _whole_rows(member: SourceFile, missing: str | None = "") -> Iterator[dict[str, Any]]:
    """Rows of a CSV file, but for those whose text a separator has cut; ``missing``: the cells that a row lacks."""
    for row in csv_rows(member.text, missing):
        more: Any = row.get("")  # a list: a column may have no name, as pandas' index
        if isinstance(more, list) and any(more):
            cells = [*(cell for cell in row.values() if isinstance(cell, str)), *more]
            if member.latin:
                member.account.drop(MORE_CELLS, sum(len(cell.encode()) for cell in cells))
            else:
                member.account.leave_out(MORE_CELLS, sum(text_size(cell) for cell in cells))
        else:
            yield row


def json_values(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> list[Any]:
    """One value of a JSON file, or one a line.

    :param pairs: makes an object of its pairs of name and value; without it the last one of a name counts.
    :raises ValueError: neither.
    """
    try:
        return [json.loads(text, object_pairs_hook=pairs)]
    except ValueError:
        return [json.loads(line, object_pairs_hook=pairs) for line in text.split("\n") if line.strip()]


def _both(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    for name in found:
        values = [value for other, value in pairs if other == name]
        texts = [value for value in values if isinstance(value, str)]
        found[name] = values[0] if len(values) == 1 else texts if len(texts) > 1 else values[-1]
    return found


def csv_rows(text: str, missing: str | None = "") -> Iterator[dict[str, Any]]:
    """A dictionary a row, keyed by the first row. The separator is the one that the first row has most of.

    :param missing: the cells that a row lacks.
    :raises ValueError: a row that cannot be read.
    """
    separator = _separator(text)
    before = csv.field_size_limit(max(len(text), 1 << 17))  # the default cuts no text of a patient's whole stay
    try:
        # Materialised: the limit is the process's, and is put back before anybody else reads.
        found = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="", restval=missing))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    finally:
        csv.field_size_limit(before)
    return iter(found)


def _separator(text: str) -> str:
    return max(",;\t|", key=text.partition("\n")[0].count)


def table_rows(member: SourceFile) -> Iterator[dict[str, Any]]:
    """A dictionary a row of a Parquet or Arrow file; only the column that ``field`` begins with, unless it is a chat.

    :raises ValueError: neither of the two.
    """
    require("documents", f'extract = "{member.source.extract}"')
    import pyarrow
    from pyarrow import ipc, parquet

    try:
        if member.name.lower().endswith(".arrow"):
            buffer = pyarrow.py_buffer(member.data)
            stream = not member.data.startswith(b"ARROW1")
            table = (ipc.open_stream(buffer) if stream else ipc.open_file(buffer)).read_all()
        else:
            table = parquet.ParquetFile(pyarrow.BufferReader(member.data)).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if member.source.extract != "chat":
        _check_column(member, table.column_names)
        table = table.select([member.source.field.partition(".")[0]])
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


def _check_column(member: SourceFile, columns: list[str]) -> None:
    column = member.source.field.partition(".")[0]
    if column not in columns:
        raise TrainError(
            f"{member.name} of source {member.source.name!r} has no column {column!r}",
            hint=_named(columns),
        )


def _named(columns: list[str]) -> str:
    """What a user may choose from. A table without a row of names has a text in its place, which no message repeats."""
    if any(len(name) > _NAME or _NUMBER.fullmatch(name.strip()) for name in columns):
        return "the first row has to name the columns, and it holds a number, or a cell that is too long for a name"
    names = [ascii(name)[1:-1] if not name.isprintable() else name for name in columns if name]
    return f"field is one of {', '.join(names[:_COLUMNS])}{', …' if len(names) > _COLUMNS else ''}"


def _column_texts(member: SourceFile, rows: Any) -> Pieces:
    return _latin_texts(member, rows) if member.latin else _texts(member, rows)


def _complete(member: SourceFile, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of a CSV file, but for those that end before the column.

    :raises TrainError: two columns of that name: only one of them would be read.
    """
    column = member.source.field.partition(".")[0]
    head = next(csv.reader(io.StringIO(member.text, newline=""), delimiter=_separator(member.text)), [])
    if head.count(column) > 1:
        raise TrainError(
            f"{member.name} of source {member.source.name!r} has {head.count(column)} columns {column!r}",
            hint="give each column a name of its own",
        )
    for row in rows:
        if row[column] is None:
            member.account.leave_out(
                FEWER_CELLS, sum(text_size(cell) for cell in row.values() if isinstance(cell, str))
            )
        else:
            yield row


def _texts(member: SourceFile, rows: Any) -> Pieces:
    """The strings at ``field``; what is there and is no text, and rows without such a field, are counted as lost."""
    for row in rows:
        for value in _at(member, row, member.source.field):
            texts = value if isinstance(value, list) and all(isinstance(part, str) for part in value) else [value]
            if all(isinstance(part, str) for part in texts):
                text = "\n\n".join(texts)
                # Entries of one file are independent texts: each is its own group.
                yield f"{member.name}#{hash_of(text)}", text
            elif value is not None:
                _no_field(member, value)


def _at(member: SourceFile, value: Any, path: str) -> Iterator[Any]:
    """What is at a dotted path; a name with dots in it is found as well."""
    if isinstance(value, dict) and path in value:
        yield value[path]
        return
    part, _, rest = path.partition(".")
    if part == "*" and isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            if rest:
                yield from _at(member, one, rest)
            else:
                yield one
    elif isinstance(value, dict) and part in value and rest:
        yield from _at(member, value[part], rest)
    elif value is not None:
        _no_field(member, value)


def _no_field(member: SourceFile, value: Any) -> None:
    if member.latin:
        member.account.drop(NO_FIELD, 0)
    else:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        member.account.leave_out(NO_FIELD, len("".join(shown.split()).encode(errors="replace")))


def _latin_texts(member: SourceFile, rows: Any) -> Pieces:
    """As recipes with segmentation ``latin`` were read."""
    values: list[Any] = list(rows)
    for part in member.source.field.split("."):
        step: list[Any] = []
        for value in values:
            if part == "*":
                step.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else [])
            elif isinstance(value, dict) and part in value:
                step.append(value[part])
            else:
                member.account.drop(NO_FIELD, 0)
        values = step
    for value in values:
        if isinstance(value, str):
            # Entries of one file are independent texts: each is its own group.
            yield f"{member.name}#{hash_of(value)}", value
        elif value is not None:
            member.account.drop(NO_FIELD, 0)


def hash_of(text: str) -> str:
    """Short stable name of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]

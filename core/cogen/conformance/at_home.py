"""The private text of a project, where it is at hand: sources of its recipes that may not ship, and ``private/``.

All text of such a source counts, not only what became documents: what is too short to train on, a copy, a column
beside the one that is read or a running header is of the same patients.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.conformance.shipped_texts import strings
from cogen.errors import SourceError
from cogen.reporter import SILENT

if TYPE_CHECKING:
    from cogen.forge.recipe import CorpusSource, TrainRecipe

PRIVATE = "private"
#: What these drop is no text of anybody: tags and code, the same in every project.
_MARKED_UP = ("html", "markdown", "rst", "docstrings")


def recipes(home: Path) -> list[Path]:
    """The training recipes in a folder, whatever they are called; one that cannot be read counts as one."""
    return [path for path in sorted(home.glob("*.toml")) if path.name != "pyproject.toml" and _is_recipe(path)]


def _is_recipe(path: Path) -> bool:
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path.name == "recipe.toml"
    return path.name == "recipe.toml" or (isinstance(found.get("corpus"), dict) and "training" in found)


def private_places(home: Path) -> list[Path]:
    """Folders and files of private text: of the sources that may not ship, and ``private/``.

    :raises CogenError: a recipe cannot be read.
    """
    found = [(home / source.uri.removeprefix("file://")).resolve() for _, source in _own_sources(home)]
    return [*found, (home / PRIVATE).resolve()]


def comparison(home: Path) -> Callable[[str], str]:
    """What texts are brought to before they are compared: where a recipe says so, to simplified Chinese."""
    from cogen.forge.recipe import read_recipe
    from cogen.text.variants import simplified

    return simplified if any(read_recipe(path).corpus.fold_chinese for path in recipes(home)) else str


def private_texts(home: Path) -> Iterator[str]:
    """:raises CogenError: a recipe or its texts cannot be read."""
    from cogen.text.starters import starter_texts

    starters = {" ".join(text.split()) for text in starter_texts()}
    for recipe, source in _own_sources(home):
        count = 0
        for text in _texts(source, recipe, home):
            count += bool(text.strip())
            if " ".join(text.split()) not in starters:
                yield text
        if not count:
            raise SourceError(f"source {source.name!r} gives no text", hint="put its files where the recipe says")
    for file in sorted((home / PRIVATE).rglob("*.jsonl")):
        yield from _lines(file.read_text(encoding="utf-8"))


def _own_sources(home: Path) -> Iterator[tuple[TrainRecipe, CorpusSource]]:
    from cogen.forge.recipe import read_recipe

    for path in recipes(home):
        recipe = read_recipe(path)
        for source in recipe.corpus.sources:
            if source.uri.startswith("file://") and not source.may("samples"):
                yield recipe, source


def _texts(source: CorpusSource, recipe: TrainRecipe, home: Path) -> Iterator[str]:
    """What is extracted, and what stands in the files beside it."""
    from cogen.forge.account import TOO_LARGE
    from cogen.forge.archives import members
    from cogen.forge.extract import extract, is_binary
    from cogen.text.decode import decode

    def skipped(reason: str, name: str, _: int) -> None:
        if reason == TOO_LARGE:
            raise SourceError(f"{name} of source {source.name!r} is larger than 64 MiB", hint="split the file")

    for name, data in members(source, home, SILENT, skipped):
        # Of conversations, too, every string is looked at: the file is JSON.
        if source.extract != "chat" or is_binary(source, name):
            for _, piece in extract(source, name, data, segmentation=recipe.corpus.segmentation):
                yield piece
        if not is_binary(source, name) and source.extract not in _MARKED_UP:
            text = decode(data, source.encoding).text
            yield text
            yield from _lines(text) if source.extract in ("json", "chat", "datasets") else ()


def _lines(text: str) -> Iterator[str]:
    """The strings of JSON, or of each line of JSON Lines: what is escaped in them is read."""
    try:
        yield from strings(json.loads(text))
        return
    except (ValueError, RecursionError):
        pass
    for line in re.split(r"\r\n|\n|\r", text):
        try:
            yield " ".join(strings(json.loads(line)))
        except (ValueError, RecursionError):
            yield line

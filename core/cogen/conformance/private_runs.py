"""No run of 8 words (12 Chinese characters) of private text in any file that ships, where that text is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cogen.conformance.package_files import files_of
from cogen.conformance.result import Check, Failed, attempt
from cogen.conformance.shipped_texts import strings
from cogen.conformance.wording import decoded, wording
from cogen.errors import CogenError
from cogen.host import Expert
from cogen.text.grams import runs
from cogen.text.scripts import words
from cogen.untrusted.json_lines import json_lines, read_bytes

NAME = "private runs"


def check_private_runs(expert: Expert, home: Path) -> Iterator[Check]:
    """Nothing where the recipe has no private text; the lines of samples and suites are the business of `leaves`.

    :param home: folder of the recipe.
    """
    try:
        texts = list(private_texts(home))
    except (CogenError, OSError, ValueError) as error:
        why = error.message if isinstance(error, CogenError) else str(error)
        yield Check(NAME, None, f"not checked, the private text cannot be read: {why}")
        return
    if texts:
        yield from attempt(NAME, lambda: compare(expert, texts))


def private_texts(home: Path) -> Iterator[str]:
    """The text of a recipe's own sources that may not ship, and everything in ``private/``.

    :raises CogenError: recipe or texts cannot be read.
    """
    from cogen.forge.documents import collect
    from cogen.forge.recipe import read_recipe
    from cogen.reporter import SILENT

    recipe = read_recipe(home / "recipe.toml")
    own = tuple(one for one in recipe.corpus.sources if not one.may("samples") and one.uri.startswith("file://"))
    if own:
        # As a copy: nothing is validated again, so sources that are held out only may stand alone.
        corpus = recipe.corpus.model_copy(update={"sources": own})
        documents, _ = collect(corpus, home, SILENT, chats=recipe.training.data == "chat")
        yield from (document.text for document in documents)
    for file in sorted((home / "private").rglob("*.jsonl")):
        for _, row in json_lines(read_bytes(file, file.name), file.name):
            yield " ".join(strings(row))


def compare(expert: Expert, texts: list[str]) -> str:
    """:raises Failed: names the file. What is found is not repeated: the message may be sent to somebody."""
    known = {run for text in texts for run in runs(words(text))}
    count = 0
    for name in files_of(expert.root):
        text = decoded(name, (expert.root / name).read_bytes)
        if text is None:
            continue
        count += 1
        for number, piece in enumerate([text, *wording(name, text)]):
            found = sum(run in known for run in runs(words(piece)))
            if found:
                raise Failed(
                    f"{name} holds {found} runs of 8 words (or 12 characters) of private text"
                    + (f", the first in its text number {number}" if number else ""),
                    "take it out of the file: comments, descriptions and docstrings are published, too",
                )
    return f"no run of private text in {count} files of code, settings and notes"

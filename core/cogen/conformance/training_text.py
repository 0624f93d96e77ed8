"""Held-out text against the training text, which only the publisher has: it never leaves, so it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cogen.conformance.overlap import texts
from cogen.conformance.result import Failed
from cogen.conformance.suite_texts import suite_texts
from cogen.errors import UsageError
from cogen.host import Expert

#: The card gives its share with five digits.
_ROUNDING = 1e-5
_SUFFIXES = (".txt", ".md", ".rst", ".jsonl")


def read_training(path: Path) -> Iterator[str]:
    """The texts of a recipe of ``cogen train`` (its training part), of a folder, or of one file.

    Of a folder every ``.txt``, ``.md``, ``.rst`` and ``.jsonl`` in it; a line of JSON Lines is a text.

    :raises UsageError: there is no text. :raises TrainError: the recipe's corpus can't be built.
    """
    if path.suffix == ".toml" and path.is_file():
        from cogen.forge.corpus import build_corpus
        from cogen.forge.recipe import read_recipe

        yield from (document.text for document in build_corpus(read_recipe(path).corpus, path.parent).train)
        return
    if not path.exists():
        raise UsageError(f"{path} is not there", hint="name a recipe, a folder of texts or a text file")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    if not files:
        raise UsageError(f"{path} holds no texts", hint=f"a text is a file that ends in {', '.join(_SUFFIXES)}")
    for file in files:
        if file.suffix == ".jsonl":
            yield from texts(file)
        else:
            yield file.read_text(encoding="utf-8", errors="replace")


def compare_training(expert: Expert, training: Iterable[str]) -> str:
    """No held-out document stands in the training text, and their word 8-grams do so no more than the card says.

    :raises Failed: names the document, or both shares.
    """
    from cogen.forge.corpus import ngrams, overlap

    known: set[int] = set()
    count = 0
    for text in training:
        known |= ngrams(text)
        count += 1
    shares: list[float] = []
    for document in suite_texts(expert):
        share = overlap(document.text, known)
        if share == 1:
            raise Failed(f"{document.where} stands in the training text", "hold out whole documents, then train again")
        if document.part == "test":
            shares.append(share)
    if not shares:
        return f"no held-out text is shipped: not compared with {count:,} training texts"
    mean = sum(shares) / len(shares)
    result = f"{mean:.5f} of the test documents' word 8-grams stand in {count:,} training texts"
    split = expert.spec.data.split
    if split == "unknown":
        return f"{result}; the card says nothing"
    result += f", the card says {split.test_8gram_overlap:.5f}"
    if mean > split.test_8gram_overlap + _ROUNDING:
        raise Failed(result, "remove what overlaps, or correct the card")
    return result

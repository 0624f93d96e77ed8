"""Held-out text against the training text, which only the publisher has: it never leaves, so it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cogen.conformance.overlap import texts
from cogen.conformance.result import Failed
from cogen.conformance.suite_texts import suite_texts
from cogen.errors import UsageError
from cogen.host import Expert
from cogen.text.decode import decode
from cogen.text.grams import has_run, ngrams, overlap, windows
from cogen.text.scripts import words
from cogen.text.undecodable import Undecodable

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

        recipe = read_recipe(path)
        corpus = build_corpus(recipe.corpus, path.parent, chats=recipe.training.data == "chat")
        yield from (document.text for document in corpus.train)
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
            yield _text(file)


def _text(file: Path) -> str:
    try:
        return decode(file.read_bytes()).text
    except Undecodable as error:
        raise UsageError(f"{file.name}, at byte {error.offset:,}: {error}", hint="convert it to UTF-8") from error


def compare_training(expert: Expert, training: Iterable[str]) -> str:
    """No held-out document stands in the training text, and their word 8-grams do so no more than the card says.

    A document that is shorter than a run of 8 words is looked for as a whole.

    :raises Failed: names the document, or both shares.
    """
    held = [(document, words(document.text)) for document in suite_texts(expert)]
    if not held:
        return "no held-out text is shipped: there is nothing to compare with the training text"
    short = {" ".join(units): len(units) for document, units in held if not has_run(document.text)}
    known: set[int] = set()
    whole: set[str] = set()
    count = 0
    for text in training:
        known |= ngrams(text)
        for length in set(short.values()):
            whole.update(run for run in windows(words(text), length) if run in short)
        count += 1
    shares: list[float] = []
    for document, units in held:
        seen = has_run(document.text)
        share = overlap(document.text, known) if seen else float(" ".join(units) in whole)
        if share == 1:
            raise Failed(f"{document.where} stands in the training text", "hold out whole documents, then train again")
        if document.part == "test" and seen:
            shares.append(share)
    return _against_card(expert, shares, count)


def _against_card(expert: Expert, shares: list[float], count: int) -> str:
    """What was found beside what the card says.

    :param shares: of each test document that is long enough to overlap in part.
    """
    split = expert.spec.data.split
    if not shares:
        return f"no test document that is long enough for runs of 8 words: overlap with {count:,} texts not checked"
    mean = sum(shares) / len(shares)
    result = f"{mean:.5f} of the test documents' word 8-grams stand in {count:,} training texts"
    if split == "unknown":
        return f"{result}; the card says nothing"
    claimed = split.test_8gram_overlap
    if isinstance(claimed, str):
        return f"{result}, the card says {claimed}"
    result += f", the card says {claimed:.5f}"
    if mean > claimed + _ROUNDING:
        raise Failed(result, "remove what overlaps, or correct the card")
    return result

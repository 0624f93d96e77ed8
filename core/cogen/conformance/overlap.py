"""Samples are of the training part: not one sentence of them may stand in a suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cogen.conformance.result import Failed
from cogen.conformance.shipped_texts import strings
from cogen.host import Expert
from cogen.text.grams import has_run, readable, runs, windows
from cogen.text.scripts import words
from cogen.untrusted.json_lines import json_lines, read_bytes

#: Length of a run of words that counts as copied: usual in decontamination (GPT-3, arXiv:2005.14165, app. C). Where
#: words are not separated it is as many characters as weigh the same: 20 of Chinese.
WORDS = 13


def compare_texts(expert: Expert) -> str:
    """Zero documents and zero runs of :data:`WORDS` words in common between samples and suites."""
    spec = expert.spec
    if spec.samples is None or spec.samples.path is None:
        return "no sample texts"
    samples = [text for text in map(normal, texts(expert.root / spec.samples.path)) if text]
    if not samples:
        raise Failed(f"{spec.samples.path} holds no text", 'one {"text": …} a line')
    whole = "\n".join(f" {text} " for text in samples)
    known = {run for text in samples for run in grams(text)}
    short = _short_runs(expert, samples)
    for suite in spec.suites:
        for part in (suite.dev, suite.test):
            for number, text in enumerate(map(normal, texts(expert.root / part.path)), 1):
                where = f"document {number} of {part.path}"
                copied = next((run for run in grams(text) if run in known), None)
                # A long document that stands in the samples begins with a run of theirs: only then it is looked for,
                # once, since all samples are read for it.
                if text in short or (copied and f" {text} " in whole):
                    raise Failed(f"{where} stands in the samples", "draw samples from the training part only")
                if copied:
                    raise Failed(
                        f"{where} shares {WORDS} words with the samples: {readable(copied)[:60]}…",
                        "remove one of the two",
                    )
    return f"no document and no {WORDS} words in common"


def _short_runs(expert: Expert, samples: list[str]) -> set[str]:
    """Documents of suites that are shorter than a run, and stand in the samples: one pass for each length there is."""
    wanted: dict[int, set[str]] = {}
    for suite in expert.spec.suites:
        for part in (suite.dev, suite.test):
            for text in map(normal, texts(expert.root / part.path)):
                if text and not has_run(text, WORDS):
                    wanted.setdefault(text.count(" ") + 1, set()).add(text)
    found: set[str] = set()
    for length, documents in wanted.items():
        for sample in samples:
            found.update(run for run in windows(sample.split(), length) if run in documents)
    return found


def texts(path: Path) -> Iterator[str]:
    """All text of each line of a JSON Lines file."""
    for _, row in json_lines(read_bytes(path, path.name), path.name):
        yield " ".join(strings(row))


def normal(text: str) -> str:
    """Its words (characters, where words are not separated) in one spelling, with a space between any two.

    Punctuation, line breaks and other code points for the same letters don't make a text another one.
    """
    return " ".join(words(text))


def grams(text: str, length: int = WORDS) -> Iterator[str]:
    """Each run of a normal text that is as long as ``length`` words."""
    return runs(text.split(), length)

"""Samples are of the training part: not one sentence of them may stand in a suite."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogen.conformance.result import Failed
from cogen.host import Expert

#: Length of a run of words that counts as copied: usual in decontamination (GPT-3, arXiv:2005.14165, app. C).
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
    # every run of words up to the length that counts as copied: looked up, where searching takes time by both sizes
    runs = {run for text in samples for length in range(1, WORDS + 1) for run in grams(text, length)}
    for suite in spec.suites:
        for part in (suite.dev, suite.test):
            for number, text in enumerate(map(normal, texts(expert.root / part.path)), 1):
                where = f"document {number} of {part.path}"
                words = len(text.split())
                copied = next((run for run in grams(text) if run in runs), None)
                if text and (text in runs if words < WORDS else copied and f" {text} " in whole):
                    raise Failed(f"{where} stands in the samples", "draw samples from the training part only")
                if copied:
                    raise Failed(
                        f"{where} shares {WORDS} words with the samples: {copied[:60]}…", "remove one of the two"
                    )
    return f"no document and no {WORDS} words in common"


def texts(path: Path) -> Iterator[str]:
    """All text of each line of a JSON Lines file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield " ".join(_strings(json.loads(line)))


def normal(text: str) -> str:
    """Words in lower case, nothing else: punctuation and line breaks don't make a text another one."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def grams(text: str, length: int = WORDS) -> Iterator[str]:
    """Runs of so many words."""
    words = text.split()
    return (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)

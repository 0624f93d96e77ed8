"""The chat suite: does a model still answer plain questions? Built in, beside the suite of general text.

Bits per byte do not show it when a model stops ending its answers or begins to loop. A model answers plain questions in
its own chat template, greedily, and of every answer is noted whether it ended by itself within :data:`LIMIT` tokens,
whether it loops, and whether it is in the language of the question. The figure is the share of answers with all three:
``well_formed``. It says nothing about whether they are right.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cogen.devices import CPU, describe, device
from cogen.evals import store
from cogen.evals.answers import Judged, judge
from cogen.evals.bound import GENERAL
from cogen.evals.generation import Sampling, end_tokens, generate, render_question
from cogen.evals.results import SuiteResult
from cogen.evals.settings import Level, Settings
from cogen.evals.statistics import interval, ratio_of_sums
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest

SUITE, METRIC = "chat", "well_formed"
COLUMN = f"{GENERAL}/{SUITE}"
#: New tokens that an answer may have: every question asks for a short one.
LIMIT = 64
#: The first questions are what the level quick takes: 15 in English, 5 in Chinese.
QUICK = 20
#: Raised when a change of our own code changes figures.
_FORMAT = 1


@functools.cache
def questions() -> tuple[tuple[str, str], ...]:
    """(question, ISO 639-1 code of its language): 90 in English and 30 in Chinese, mixed."""
    lines = (Path(__file__).parent / GENERAL / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple((entry["prompt"], entry["language"]) for entry in map(json.loads, lines))


def most_written(level: Level) -> int:
    """Tokens that one model writes at most when it is asked at this level."""
    return LIMIT * (QUICK if level == "quick" else len(questions()))


def can_chat(tokenizer: Any) -> bool:
    """A model without a chat template continues text, and is asked nothing."""
    return bool(tokenizer.chat_template) and tokenizer.eos_token_id is not None


def run_chat(
    model: Any | Callable[[], Any],
    tokenizer: Any,
    *,
    model_digest: str,
    tokenizer_digest: str,
    level: Level,
    dtype: str,
    reporter: Reporter = SILENT,
    use_cache: bool = True,
) -> SuiteResult | None:
    """Ask a model the questions; ``None`` if it has no chat template.

    :param model: see :func:`cogen.evals.run_suites`.
    :returns: ``details`` holds the shares ``ended``, ``loops`` and ``same_language`` of the answers, and
        ``repeated_4grams``, the mean over the answers.
    """
    if not can_chat(tokenizer):
        return None
    asked = questions()[:QUICK] if level == "quick" else questions()
    # One batch whatever the level: the other rows of a batch change bfloat16 figures in the last digits.
    sampling = Sampling(limit=LIMIT, batch=QUICK)
    documents = canonical_digest([list(pair) for pair in asked])
    place = describe(device())
    key = canonical_digest(
        {
            "format": _FORMAT,
            "suite": COLUMN,
            "questions": documents,
            "limit": LIMIT,
            "batch": sampling.batch,
            "model": model_digest,
            "tokenizer": tokenizer_digest,
            "template": tokenizer.chat_template,
            "dtype": dtype,
            "level": level,
            "versions": {name: value for name, value in store.versions().items() if name in ("torch", "transformers")},
        }
        | ({"device": place} if place != CPU else {})
    )
    if use_cache and (known := store.read(key)) is not None:
        return known
    reporter.describe(f"{COLUMN}: {len(asked)} questions")
    loaded = model if hasattr(model, "config") else model()
    start = time.perf_counter()
    prompts = [render_question(tokenizer, prompt) for prompt, _ in asked]
    answers = generate(loaded, prompts, sampling, end_tokens(loaded, tokenizer))
    judged = [
        judge(tokenizer.decode(answer.ids, skip_special_tokens=True), language, answer.ended)
        for (_, language), answer in zip(asked, answers, strict=True)
    ]
    pairs = tuple((float(one.well_formed), 1.0) for one in judged)
    low, high = interval(pairs, Settings(dtype=dtype)) or (None, None)
    result = SuiteResult(
        owner=GENERAL,
        suite=SUITE,
        metric=METRIC,
        split="test",
        level=level,
        value=ratio_of_sums(pairs),
        n=len(pairs),
        low=low,
        high=high,
        per_document=pairs,
        documents=documents,
        tokens=sum(map(len, prompts)) + sum(len(answer.ids) for answer in answers),
        seconds=round(time.perf_counter() - start, 3),
        key=key,
        details=_shares(judged),
    )
    if use_cache:
        store.save(result)
    return result


def _shares(judged: list[Judged]) -> dict[str, float]:
    n = len(judged)
    return {
        "ended": sum(one.ended for one in judged) / n,
        "loops": sum(one.loops for one in judged) / n,
        "same_language": sum(one.same_language for one in judged) / n,
        "repeated_4grams": sum(one.repeated for one in judged) / n,
    }


def in_words(result: SuiteResult) -> str:
    """What the single figure is made of: "13 of 20 answers end by themselves, 1 loops, 17 are in the question's …"."""
    ended, loops, own = (round(result.details[name] * result.n) for name in ("ended", "loops", "same_language"))
    return (
        f"{ended} of {result.n} answers end by themselves, {loops} {'loops' if loops == 1 else 'loop'}, {own} "
        f"{'is' if own == 1 else 'are'} in the question's language; {result.details['repeated_4grams']:.0%} of the "
        "4-grams are repeated"
    )

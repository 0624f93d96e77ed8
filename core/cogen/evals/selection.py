"""Which documents a level takes, and how many tokens that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cogen.evals.documents import Row
from cogen.evals.settings import QUICK_TOKENS, Level, Split
from cogen.evals.task import Task


def text_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of ``text`` without special ones."""
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def cost(tokenizer: Any, task: Task, row: Row, examples: Sequence[Row]) -> int:
    """Tokens that go through the model for one document; for generation the most that can."""
    if task.metric == "bits_per_byte":
        assert isinstance(row.target, str)
        return text_tokens(tokenizer, row.target)
    prompt = task.fewshot_delimiter.join([row.description, *map(_solved(task), examples), row.text])
    if task.metric == "acc":
        return sum(text_tokens(tokenizer, f"{prompt}{task.target_delimiter}{choice}") for choice in row.choices)
    return text_tokens(tokenizer, prompt) + task.max_gen_toks


def select(
    tokenizer: Any,
    task: Task,
    rows: Sequence[Row],
    examples: Sequence[Row],
    split: Split,
    level: Level,
    most: int | None = None,
) -> tuple[list[Row], int]:
    """(documents to measure, their tokens).

    ``full`` takes all, or the first ``most``. ``quick`` takes documents in file order as long as they stay within
    :data:`~cogen.evals.settings.QUICK_TOKENS`; a first document that is longer is cut to that many tokens.
    """
    if level == "full":
        return list(rows[:most]), sum(cost(tokenizer, task, row, examples) for row in rows[:most])
    limit, total = QUICK_TOKENS[split], 0
    chosen: list[Row] = []
    for row in rows:
        tokens = cost(tokenizer, task, row, examples)
        if total + tokens > limit:
            break
        chosen.append(row)
        total += tokens
    if not chosen:
        row = rows[0]
        assert isinstance(row.target, str)
        text = _cut(tokenizer, row.target, limit)
        return [replace(row, target=text)], text_tokens(tokenizer, text)
    return chosen, total


def _cut(tokenizer: Any, text: str, limit: int) -> str:
    """The longest beginning of ``text``, at a token's end, that is at most ``limit`` tokens long."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    keep = limit
    while True:
        # A beginning may tokenize to more tokens than it had within the whole: then one token less.
        start = text[: max(1, offsets[keep - 1][1])]
        if keep == 1 or text_tokens(tokenizer, start) <= limit:
            return start
        keep -= 1


def _solved(task: Task) -> Any:
    def solve(row: Row) -> str:
        answer = row.choices[row.target] if isinstance(row.target, int) else row.target[0]
        return f"{row.text}{task.target_delimiter}{answer}"

    return solve

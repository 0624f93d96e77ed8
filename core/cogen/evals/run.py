"""Measuring a model on suites."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from cogen.errors import EvalError
from cogen.evals import harness, store
from cogen.evals.bound import BoundSuite
from cogen.evals.documents import Row, example_rows, rows_of
from cogen.evals.results import SuiteResult
from cogen.evals.selection import cost, select
from cogen.evals.settings import Level, Settings, Split, prefix_token_id
from cogen.evals.statistics import interval, ratio_of_sums
from cogen.evals.task import Task, load_task
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest

_BITS_PER_NAT = 1.4426950408889634  # 1 / ln 2


def run_suites(
    model: Any | Callable[[], Any],
    tokenizer: Any,
    suites: Sequence[BoundSuite],
    *,
    model_digest: str,
    tokenizer_digest: str,
    split: Split,
    level: Level,
    dtype: str,
    settings: Settings | None = None,
    reporter: Reporter = SILENT,
    use_cache: bool = True,
    chooser: tuple[Any, str] | None = None,
    documents: int | None = None,
) -> list[SuiteResult]:
    """Measure a model on one split of each suite, in order; ``quick`` leaves out all but bits_per_byte.

    :param model: a transformers causal language model in ``dtype``, or a function without arguments that loads one:
        it is called only if a result is not in the cache.
    :param tokenizer: the model's fast tokenizer.
    :param model_digest: digest of the weights *and* the configuration that they run in.
    :param reporter: advanced by the tokens of every forward pass.
    :param settings: others than the pinned ones, whose ``dtype`` must be ``dtype``.
    :param chooser: tokenizer, and its digest, that counts the tokens of documents where a level takes some of them:
        models with different tokenizers are compared on the documents that one of them chooses. Default: the model's.
    :param documents: at the level full, the first so many of each suite. Default: all.
    :raises EvalError: a suite cannot be run.
    :raises DigestError: the data are not those that the manifest promises.
    :raises UnsafeError: a task file asks for code.
    """
    settings = settings or Settings.here(dtype=dtype)
    if settings.dtype != dtype:
        raise EvalError(f"the settings say {settings.dtype}, the call says {dtype}", hint="give one dtype")
    prefix = prefix_token_id(tokenizer)
    counting, chosen_by = chooser or (tokenizer, tokenizer_digest)
    loaded: Any = None
    results = []
    for bound, task in _tasks(suites, level):
        examples, rows = example_rows(bound, task, split)  # checks the data's digest, whether cached or not
        key = store.result_key(
            bound,
            task,
            settings,
            model_digest=model_digest,
            tokenizer_digest=tokenizer_digest,
            prefix_token=prefix,
            split=split,
            level=level,
            chosen_by=chosen_by,
            documents=_fewer(rows, level, documents),
        )
        result = store.load(key, bound) if use_cache else None
        if result is None:
            reporter.describe(bound.name)
            if loaded is None:
                loaded = model if hasattr(model, "config") else model()
            with harness.quiet():
                rows, tokens = select(counting, task, rows, examples, split, level, documents)
            harness.prepare()
            start = time.perf_counter()
            values = harness.evaluate(loaded, tokenizer, task, rows, examples, settings, reporter)
            seconds = time.perf_counter() - start
            result = _result(bound, task, rows, examples, values, settings, split, level, tokens, seconds, key)
            if use_cache:
                store.save(result)
        else:
            reporter.advance(result.tokens)
        results.append(result)
    return results


def count_tokens(
    tokenizer: Any, suites: Sequence[BoundSuite], split: Split, level: Level, documents: int | None = None
) -> dict[tuple[str, str], int]:
    """Tokens that each suite sends through a model: (owner, suite id) → tokens, without those that ``level`` skips."""
    counts = {}
    for bound, task in _tasks(suites, level):
        examples, rows = example_rows(bound, task, split)
        with harness.quiet():
            counts[bound.owner, bound.suite.id] = select(tokenizer, task, rows, examples, split, level, documents)[1]
    return counts


def read_rows(bound: BoundSuite, split: Split) -> list[Row]:
    """The documents of one split as a model gets them, rendered and checked against their digest."""
    return rows_of(bound, load_task(bound), split)


def try_suite(model: Any, tokenizer: Any, bound: BoundSuite, dtype: str) -> float:
    """Measure the cheapest document of the dev split: does the suite run at all? In the unit of its metric.

    :raises EvalError, DigestError, UnsafeError: see :func:`run_suites`.
    """
    task = load_task(bound)
    examples, rows = example_rows(bound, task, "dev")
    with harness.quiet():
        row = min(rows, key=lambda row: cost(tokenizer, task, row, examples))
    (value,) = harness.evaluate(model, tokenizer, task, [row], examples, Settings(dtype=dtype))
    return -value * _BITS_PER_NAT / len(str(row.target).encode()) if task.metric == "bits_per_byte" else value


def quick_texts(bound: BoundSuite, tokenizer: Any, split: Split = "test") -> list[str]:
    """The texts of a bits_per_byte suite that the level quick takes, rendered."""
    ((bound, task),) = _tasks([bound], "quick")
    examples, rows = example_rows(bound, task, split)
    with harness.quiet():
        chosen, _ = select(tokenizer, task, rows, examples, split, "quick")
    return [str(row.target) for row in chosen]


def _tasks(suites: Sequence[BoundSuite], level: Level) -> list[tuple[BoundSuite, Task]]:
    """All task files are read before anything is measured: an error in the last one is told at once."""
    if level not in ("quick", "full"):
        raise EvalError(f"there is no level {level!r}", hint="use quick or full")
    names = [bound.name for bound in suites]
    if double := {name for name in names if names.count(name) > 1}:
        raise EvalError(f"the suite {min(double)} is asked for twice", hint="name each suite once")
    wanted = [bound for bound in suites if level == "full" or bound.suite.metric == "bits_per_byte"]
    return [(bound, load_task(bound)) for bound in wanted]


def _fewer(rows: Sequence[Row], level: Level, documents: int | None) -> int | None:
    """``documents``, if that leaves some out: else it is the measurement of all of them."""
    return documents if documents is not None and level == "full" and documents < len(rows) else None


def _result(
    bound: BoundSuite,
    task: Task,
    rows: Sequence[Row],
    examples: Sequence[Row],
    values: Sequence[float],
    settings: Settings,
    split: Split,
    level: Level,
    tokens: int,
    seconds: float,
    key: str,
) -> SuiteResult:
    if task.metric == "bits_per_byte":
        # rows hold the text itself for this metric; lm-eval gives its log-likelihood in nats
        pairs = tuple(
            (-value * _BITS_PER_NAT, float(len(str(row.target).encode())))
            for value, row in zip(values, rows, strict=True)
        )
    else:
        pairs = tuple((value, 1.0) for value in values)
    clusters = tuple(row.cluster for row in rows) if task.cluster else ()
    low, high = interval(pairs, settings, clusters) or (None, None)
    return SuiteResult(
        owner=bound.owner,
        suite=bound.suite.id,
        metric=task.metric,
        split=split,
        level=level,
        value=ratio_of_sums(pairs),
        n=len(pairs),
        low=low,
        high=high,
        per_document=pairs,
        documents=canonical_digest([[row.key() for row in examples], [row.key() for row in rows]]),
        tokens=tokens,
        seconds=round(seconds, 3),
        key=key,
        clusters=clusters,
        kinds=tuple(row.kind for row in rows) if task.kind else (),
    )

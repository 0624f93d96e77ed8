"""The cache of results: one JSON file a measurement, named by everything that could change it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import Any

from cogen.cache import cached
from cogen.evals.bound import BoundSuite
from cogen.evals.results import SuiteResult
from cogen.evals.settings import QUICK_TOKENS, RESULT_FORMAT, Level, Settings, Split
from cogen.evals.task import Task
from cogen.files import atomic_write
from cogen.spec.expert import canonical_digest


@cache
def versions() -> dict[str, str]:
    """Versions of what computes the figures. Read from metadata: nothing is imported."""
    return {name: importlib.metadata.version(name) for name in ("lm_eval", "transformers", "torch", "scipy")}


def result_key(
    bound: BoundSuite,
    task: Task,
    settings: Settings,
    *,
    model_digest: str,
    tokenizer_digest: str,
    prefix_token: int,
    split: Split,
    level: Level,
    chosen_by: str | None = None,
    documents: int | None = None,
) -> str:
    """``sha256:…`` over the settings, the versions, and the digests of model, tokenizer, data and task.

    :param chosen_by: digest of the tokenizer that counted the tokens of documents.
    :param documents: how many are measured, where these are not all that the level takes.

    The suite's owner, id and title aren't in it: the same measurement under another name is the same measurement.
    """
    import hashlib

    return canonical_digest(
        {
            "format": RESULT_FORMAT,
            "settings": settings.key(),
            "prefix_token": prefix_token,
            "versions": versions(),
            "model": model_digest,
            "tokenizer": tokenizer_digest,
            "task": hashlib.sha256(bound.path(bound.suite.task).read_bytes()).hexdigest(),
            "metric": task.metric,
            "data": bound.data(split).digest,
            "examples": bound.suite.dev.digest if task.num_fewshot else None,
            "part": split,
            "level": level,
            "tokens": QUICK_TOKENS[split] if level == "quick" else None,
        }
        | ({"chosen_by": chosen_by} if level == "quick" and chosen_by not in (None, tokenizer_digest) else {})
        | ({"documents": documents} if documents is not None else {})
    )


def _path(key: str) -> Path:
    return cached("results", f"{key.removeprefix('sha256:')}.json")


def load(key: str, bound: BoundSuite) -> SuiteResult | None:
    """The result under ``key``, named after ``bound``; ``None`` if there is none, or none that can be read."""
    found = read(key)
    return None if found is None else dataclasses.replace(found, owner=bound.owner, suite=bound.suite.id)


def read(key: str) -> SuiteResult | None:
    """The result under ``key`` as it was saved; ``None`` if there is none, or none that can be read."""
    try:
        value: Any = json.loads(_path(key).read_text(encoding="utf-8"))
        result = SuiteResult.from_json(value)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged file costs a measurement, never a wrong figure
    return dataclasses.replace(result, cached=True) if result.key == key else None


def save(result: SuiteResult) -> None:
    """Keep a result for the next run."""
    atomic_write(_path(result.key), json.dumps(result.to_json()).encode())

"""The documents that a suite's figure stands on, and the text of each that is routed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cogen.evals import BoundSuite
from cogen.evals.documents import example_rows
from cogen.evals.harness import quiet
from cogen.evals.selection import select
from cogen.evals.settings import Level, Split
from cogen.evals.task import load_task
from cogen.spec.expert import canonical_digest


@dataclass(frozen=True)
class Documents:
    """``queries``: what a router sees of each; ``digest`` is that of a ``SuiteResult`` on the same documents."""

    bound: BoundSuite
    queries: tuple[str, ...]
    digest: str

    @property
    def column(self) -> str:
        return self.bound.name


def documents_of(suites: Sequence[BoundSuite], tokenizer: Any, part: Split, level: Level) -> list[Documents]:
    """Of the suites that ``level`` measures, in order.

    A router sees the text itself in suites of bits_per_byte, and the question without answer or choices in the others.

    :param tokenizer: counts the tokens of documents at the level quick; that of ``chooser`` in ``run_suites``.
    """
    found = []
    for bound in wanted(suites, level):
        task = load_task(bound)
        examples, rows = example_rows(bound, task, part)
        with quiet():
            rows, _ = select(tokenizer, task, rows, examples, part, level)
        queries = tuple(str(row.target) if task.metric == "bits_per_byte" else row.text for row in rows)
        digest = canonical_digest([[row.key() for row in examples], [row.key() for row in rows]])
        found.append(Documents(bound, queries, digest))
    return found


def wanted(suites: Sequence[BoundSuite], level: Level) -> list[BoundSuite]:
    """``quick`` leaves out all but bits_per_byte."""
    return [bound for bound in suites if level == "full" or bound.suite.metric == "bits_per_byte"]

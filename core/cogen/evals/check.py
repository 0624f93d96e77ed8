"""What ``cogen check`` asks of a suite, without a model."""

from __future__ import annotations

from cogen.errors import EvalError
from cogen.evals.bound import BoundSuite
from cogen.evals.documents import rows_of
from cogen.evals.settings import MIN_TEST_DOCUMENTS
from cogen.evals.task import load_task


def check_suite(bound: BoundSuite) -> dict[str, int]:
    """Read all of a suite: the task file, both splits with their digests, and every template on every document.

    :returns: number of documents by split.
    :raises EvalError: it cannot be run, its test split has under :data:`MIN_TEST_DOCUMENTS` documents, or a document
        appears twice in the test split or in both splits.
    :raises DigestError, UnsafeError: see :func:`cogen.evals.run.run_suites`.
    """
    task = load_task(bound)
    dev, test = rows_of(bound, task, "dev"), rows_of(bound, task, "test")
    if len(test) < MIN_TEST_DOCUMENTS:
        raise EvalError(
            f"{bound.name}: the test split has {len(test)} documents, at least {MIN_TEST_DOCUMENTS} are needed",
            hint="a figure over fewer says little; add documents",
        )
    if task.num_fewshot >= len(dev):
        raise EvalError(f"{bound.name}: the dev split is too small for its examples", hint="lower num_fewshot")
    if len(set(test)) != len(test):
        raise EvalError(f"{bound.name}: a document appears twice in the test split", hint="remove the copies")
    if both := set(dev) & set(test):
        raise EvalError(
            f"{bound.name}: {len(both)} documents stand in both the dev and the test split", hint="split by document"
        )
    return {"dev": len(dev), "test": len(test)}

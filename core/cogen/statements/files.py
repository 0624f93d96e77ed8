"""Items as a suite ships them: JSON Lines, and a task file that lm-evaluation-harness reads as well.

Choices are whole sentences after the same context, compared by their total log-likelihood, as in BLiMP (Warstadt et al.
2020, arXiv:1912.00582): what stands before the place is the same in all of them and cancels out, whatever the
tokenizer does at the place; what comes after it counts, since it can tell what belongs there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from cogen.statements.generate import StatementItem
from cogen.statements.slots import Kind

#: What the kinds are called in a suite's data.
NAMES: dict[Kind, str] = {"number": "number", "unit": "unit", "entity": "name", "term": "term"}

_TASK = """\
# {what}
# The model is right where the true sentence is the most likely one after its context (total log-likelihood).
task: cogen_{name}_{suite}
dataset_path: json
dataset_kwargs:
  data_files: {{validation: {dev}, test: {test}}}
validation_split: validation
test_split: test
output_type: multiple_choice
doc_to_text: context
doc_to_target: answer
doc_to_choice: choices
target_delimiter: ""
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.1
  # Items of one document are not independent: CoGen draws whole documents for its intervals, and counts by kind.
  cluster_by: document
  count_by: kind
"""
_WHAT = {
    "statements": "True sentences of held-out text against the same ones with one number, unit, name or term replaced.",
    "cloze": "Sentences of held-out text with one name or term left out: the true one and three others of its kind.",
}


def task_file(name: str, suite: str, data: tuple[str, str] | None = None) -> str:
    """Task file of the suite ``statements`` or ``cloze``.

    :param name: what the task is called by, such as the expert's id with underscores.
    :param data: paths of the dev and the test split; default: ``suites/SUITE-dev.jsonl`` and ``-test``.
    """
    dev, test = data or (f"suites/{suite}-dev.jsonl", f"suites/{suite}-test.jsonl")
    return _TASK.format(name=name, suite=suite, what=_WHAT[suite], dev=dev, test=test)


def json_lines(items: Iterable[StatementItem]) -> bytes:
    """One object a line: ``context``, ``choices``, ``answer`` (index of the true one), ``kind``, ``document`` (the same
    for items of one group, such as all passages of a file), ``source``, ``license``."""
    items = list(items)
    names: dict[str, str] = {}
    for item in sorted(items, key=lambda one: one.passage.text):
        # Called by its first passage: the name of a file may itself be private.
        names.setdefault(item.passage.drawn_by, hashlib.sha256(item.passage.text.encode()).hexdigest()[:16])
    rows = (_row(item, names[item.passage.drawn_by]) for item in items)
    return b"".join((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows)


def groups(items: Iterable[StatementItem]) -> int:
    """How many documents the items are of: files, or what else was never parted."""
    return len({item.passage.drawn_by for item in items})


def _row(item: StatementItem, document: str) -> dict[str, object]:
    return {
        "context": item.context,
        "choices": list(item.choices),
        "answer": item.answer,
        "kind": NAMES[item.kind],
        "document": document,
        "source": item.passage.source,
        "license": item.passage.license,
    }

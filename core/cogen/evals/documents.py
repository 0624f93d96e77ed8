"""The documents of one split of a suite: read, checked against the promised digest, rendered to plain rows."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from typing import Any

from cogen.errors import DigestError, EvalError, UnsafeError
from cogen.evals.bound import BoundSuite
from cogen.evals.settings import Split
from cogen.evals.task import Task
from cogen.evals.templates import render
from cogen.untrusted.json_lines import json_lines
from cogen.untrusted.templates import Budget

DATA_LIMIT = 8 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One document as the harness gets it: no template is left.

    ``target`` is the text itself (bits_per_byte), the index of the right choice (acc), or the accepted answers
    (exact_match).

    ``cluster`` is what rows that are not independent share, such as the document that they were made of; ``kind`` is
    one that they are counted by. Neither changes what a model gets.
    """

    text: str
    target: str | int | tuple[str, ...]
    choices: tuple[str, ...] = ()
    description: str = ""
    cluster: str = field(default="", compare=False)
    kind: str = field(default="", compare=False)

    def key(self) -> list[Any]:
        return [self.text, self.target, list(self.choices), self.description]


def read_documents(bound: BoundSuite, split: Split) -> list[dict[str, Any]]:
    """The documents of one split, in the order of the file.

    :raises DigestError: the file's bytes are not those that the manifest promises.
    :raises EvalError: it is not JSON Lines with the promised number of documents.
    """
    data = bound.data(split)
    with bound.path(data.path).open("rb") as file:
        content = file.read(DATA_LIMIT + 1)
    where = f"{bound.name}: {data.path}"
    if len(content) > DATA_LIMIT:
        raise UnsafeError(f"{where} is larger than {DATA_LIMIT >> 20} MiB", hint="held-out text can be small")
    found = "sha256:" + hashlib.sha256(content).hexdigest()
    if found != data.digest:
        raise DigestError(
            f"{where} has digest {found[:19]}… where {data.digest[:19]}… was promised",
            hint="the file is damaged or was changed: reinstall the plugin, or publish it again with the new digest",
        )
    documents = [document for _, document in json_lines(content, where, error=EvalError)]
    if len(documents) != data.documents:
        raise EvalError(
            f"{where} holds {len(documents)} documents where {data.documents} were promised",
            hint="correct `documents` in the manifest",
        )
    return documents


def rows_of(bound: BoundSuite, task: Task, split: Split) -> list[Row]:
    """All documents of one split, rendered."""
    documents = read_documents(bound, split)
    # One for all documents: a file of many small ones must not take many times what a large one may.
    budget = Budget.of_file(bound.path(bound.data(split).path).stat().st_size, len(documents))
    where = f"{bound.name}: {bound.data(split).path}"
    return [_row(task, document, f"{where} document {number}", budget) for number, document in enumerate(documents, 1)]


def example_rows(bound: BoundSuite, task: Task, split: Split) -> tuple[list[Row], list[Row]]:
    """(examples that stand in every prompt, documents to measure).

    Examples are the first of the dev split; when dev itself is measured, these documents are left out of it.
    """
    rows = rows_of(bound, task, split)
    if not task.num_fewshot:
        return [], rows
    examples = (rows if split == "dev" else rows_of(bound, task, "dev"))[: task.num_fewshot]
    rows = rows[task.num_fewshot :] if split == "dev" else rows
    if len(examples) < task.num_fewshot or not rows:
        raise EvalError(
            f"{bound.name}: the dev split has too few documents for {task.num_fewshot} examples",
            hint="lower num_fewshot",
        )
    return examples, rows


def _row(task: Task, document: dict[str, Any], where: str, budget: Budget) -> Row:
    try:
        target = _target(task, document, where, budget)
        if task.metric == "bits_per_byte":
            return Row("", target, cluster=_label(document, task.cluster, where))
        text = _value(task.doc_to_text, document, budget)
        if not isinstance(text, str):
            raise EvalError("`doc_to_text` is not text", hint="tasks with several contexts need the suites hook")
        description = render(task.description, document, budget) if task.description else ""
        choices = _choices(task, document, budget) if task.metric == "acc" else ()
    except (EvalError, UnsafeError) as error:
        raise type(error)(error.message if where in error.message else f"{where}: {error}", hint=error.hint) from error
    if task.metric == "acc":
        target = choices.index(target) if target in choices else target
        if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < len(choices):
            raise EvalError(f"{where}: the target {target!r} is none of the choices", hint="give its index or its text")
    cluster, kind = (_label(document, name, where) for name in (task.cluster, task.kind))
    return Row(text, target, choices, description, cluster, kind)


def _label(document: dict[str, Any], name: str, where: str) -> str:
    """The value of a field that groups rows; "" where the task has none."""
    if not name:
        return ""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise EvalError(f"{where} has no text in the field {name!r}", hint="the task's `metadata` names it")
    return value


def _value(template: str | int, document: dict[str, Any], budget: Budget) -> Any:
    """lm-eval's rule: a number stands for itself, a field's name for the field, all else is a template."""
    if isinstance(template, int):
        return template
    return document[template] if template in document else render(template, document, budget)


def _target(task: Task, document: dict[str, Any], where: str, budget: Budget) -> Any:
    value = _value(task.doc_to_target, document, budget)
    if task.metric == "bits_per_byte":
        if not isinstance(value, str) or not value:
            raise EvalError(f"{where} has no text", hint="remove empty documents")
        return value
    if isinstance(value, str) and isinstance(task.doc_to_target, str) and task.doc_to_target not in document:
        # A template gives text; as in lm-eval, digits are an index and brackets a list.
        if task.metric == "acc" and value.isdecimal() and len(value) < 5:
            return int(value)
        if task.metric == "exact_match" and value.startswith("[") and value.endswith("]"):
            value = _literal(value)
    if task.metric == "acc":
        return value
    answers = value if isinstance(value, list) else [str(value)]
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise EvalError(f"{where} has no answer", hint="give a text or a list of texts")
    return tuple(answers)


def _choices(task: Task, document: dict[str, Any], budget: Budget) -> tuple[str, ...]:
    if isinstance(task.doc_to_choice, tuple):
        return task.doc_to_choice
    assert task.doc_to_choice is not None
    value = _value(task.doc_to_choice, document, budget)
    value = _literal(value) if isinstance(value, str) else value
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(choice, str) and choice for choice in value):
        raise EvalError("the choices are not a list of two or more texts", hint="see `doc_to_choice`")
    return tuple(value)


def _literal(text: str) -> Any:
    """A list that a template wrote. ``literal_eval`` builds values only, and runs nothing."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text

"""One lm-eval task file, read safely: :func:`load_task` gives a :class:`Task` of plain checked values."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from cogen.errors import EvalError, UnsafeError
from cogen.evals.bound import BoundSuite
from cogen.evals.safe_yaml import HOOK_HINT, read_yaml

#: What each metric needs as ``output_type``.
OUTPUT_TYPES = {"bits_per_byte": "loglikelihood_rolling", "acc": "multiple_choice", "exact_match": "generate_until"}
#: Keys of lm-eval's TaskConfig whose values are code, or name code or data elsewhere.
_CODE = frozenset(
    {
        *("class", "include", "group", "process_docs", "process_results", "custom_dataset", "unsafe_code"),
        *("use_prompt", "fewshot_config", "doc_to_image", "doc_to_audio", "dataset_name"),
    }
)
#: Keys without influence here; checked for their types all the same.
_IGNORED: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "task_alias": str,
    "tag": (str, list),
    "training_split": str,
    "validation_split": str,
    "test_split": str,
    "fewshot_split": str,
    "should_decontaminate": bool,
    "doc_to_decontamination_query": str,
}
_METRICS = frozenset({"bits_per_byte", "byte_perplexity", "word_perplexity", "acc", "acc_norm", "exact_match"})
_METRIC_KEYS = frozenset({"metric", "aggregation", "higher_is_better"})
_AGGREGATIONS = frozenset({"mean", "bits_per_byte", "weighted_perplexity"})
_MATCH_FLAGS = frozenset({"ignore_case", "ignore_punctuation", "ignore_numbers"})
_FILTERS = frozenset({"take_first", "remove_whitespace", "lowercase", "uppercase"})
MAX_GENERATED = 512
MAX_SHOTS = 8


@dataclass(frozen=True)
class Task:
    """What of a task file counts. Templates and field names are not rendered yet."""

    metric: str
    doc_to_text: str = ""
    doc_to_target: str | int = ""
    doc_to_choice: str | tuple[str, ...] | None = None
    description: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    num_fewshot: int = 0
    #: generate_until only: stop strings, and the most tokens to generate. Decoding is always greedy.
    until: tuple[str, ...] = ()
    max_gen_toks: int = 128
    #: exact_match only: see lm-eval's metric of that name.
    match_flags: dict[str, bool] = field(default_factory=dict)
    #: exact_match only: lm-eval filters for what the model wrote, in order.
    filters: tuple[str, ...] = ()
    #: Fields of a document, named in `metadata`, which lm-eval keeps and does not read: the one that documents share
    #: which are not independent, so that intervals draw them together, and the one that they are counted by.
    cluster: str = ""
    kind: str = ""

    @property
    def output_type(self) -> str:
        return OUTPUT_TYPES[self.metric]


def load_task(bound: BoundSuite) -> Task:
    """Read the task file of a suite.

    :raises UnsafeError: it asks for code, other files, or data from elsewhere.
    :raises EvalError: it is not a task for the metric that the suite declares.
    """
    return _parse(read_yaml(bound.path(bound.suite.task)), bound)


def _parse(raw: dict[str, Any], bound: BoundSuite) -> Task:
    where, metric = f"{bound.name}: {bound.suite.task}", bound.suite.metric
    known = {*_IGNORED, *_READERS, "dataset_path", "dataset_kwargs", "metric_list", "output_type", "repeats"}
    for key, value in raw.items():
        if key in _CODE and value not in (None, False):
            raise UnsafeError(f"{where} asks for `{key}`", hint=HOOK_HINT)
        if key not in known and key not in _CODE:
            close = difflib.get_close_matches(key, known, n=1)
            raise EvalError(
                f"{where} has an unknown key `{key}`", hint=f"did you mean `{close[0]}`?" if close else HOOK_HINT
            )
        if key in _IGNORED and value is not None and not isinstance(value, _IGNORED[key]):
            raise UnsafeError(f"{where}: `{key}` is not a plain value", hint=HOOK_HINT)
    _check_data(raw, bound, where)
    if raw.get("output_type") != OUTPUT_TYPES[metric]:
        raise EvalError(
            f"{where} has output_type {raw.get('output_type')!r}, but {metric} needs {OUTPUT_TYPES[metric]}",
            hint="change the suite's metric or the task's output_type",
        )
    if raw.get("repeats", 1) != 1:
        raise EvalError(f"{where}: `repeats` must be 1", hint="decoding is greedy: a second answer would be the same")
    values: dict[str, Any] = {"metric": metric, "match_flags": _metrics(raw.get("metric_list"), metric, where)}
    for key, reader in _READERS.items():
        if raw.get(key) is not None:
            values.update(reader(raw[key], f"{where}: `{key}`"))
    task = Task(**values)
    if not isinstance(task.doc_to_target, int) and not task.doc_to_target:
        raise EvalError(f"{where} has no `doc_to_target`", hint="name the field that holds the text or the answer")
    if metric == "acc" and not task.doc_to_choice:
        raise EvalError(f"{where} has no `doc_to_choice`", hint="name the field that holds the choices")
    return task


def _check_data(raw: dict[str, Any], bound: BoundSuite, where: str) -> None:
    """The data are the suite's pinned files. A task file may repeat their names (for plain lm-eval), but no others."""
    if raw.get("dataset_path") not in (None, "json"):
        raise UnsafeError(
            f"{where} names the data set {raw['dataset_path']!r}",
            hint="a suite ships its data as JSONL: dataset_path: json",
        )
    options = raw.get("dataset_kwargs") or {}
    files = options.get("data_files", {}) if isinstance(options, dict) and set(options) <= {"data_files"} else None
    names = list(files.values()) if isinstance(files, dict) else [files]
    if not all(name in (bound.suite.dev.path, bound.suite.test.path) for name in names):
        raise UnsafeError(f"{where}: `dataset_kwargs` names other data than the suite's", hint=HOOK_HINT)


def _metrics(entries: Any, metric: str, where: str) -> dict[str, bool]:
    """Check ``metric_list``, which may be missing; give the flags of our metric."""
    if entries is None:
        return {}
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise EvalError(f"{where}: `metric_list` is not a list of mappings", hint=f"write `- metric: {metric}`")
    flags: dict[str, dict[str, bool]] = {}
    for entry in entries:
        name, extra = entry.get("metric"), {key: entry[key] for key in entry if key not in _METRIC_KEYS}
        if name not in _METRICS or entry.get("aggregation", "mean") not in _AGGREGATIONS:
            raise UnsafeError(f"{where}: the metric {name!r} is not one of ours", hint=HOOK_HINT)
        if not set(extra) <= _MATCH_FLAGS or not all(isinstance(value, bool) for value in extra.values()):
            raise UnsafeError(f"{where}: the metric {name} has options that are not allowed", hint=HOOK_HINT)
        flags[name] = extra
    if metric not in flags:
        raise EvalError(
            f"{where} does not measure {metric}, which the suite declares", hint=f"add `- metric: {metric}`"
        )
    return flags[metric]


def _text(name: str) -> Any:
    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, str):
            raise EvalError(f"{where} is not text", hint="give a field's name or a template")
        return {name: value}

    return read


def _target(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise EvalError(f"{where} is neither text nor a number", hint="give a field's name, a template or an index")
    return {"doc_to_target": value}


def _choice(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"doc_to_choice": value}
    choices = list(value.values()) if isinstance(value, dict) else value
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(choice, str) and choice for choice in choices)
    ):
        raise EvalError(f"{where} is not a list of texts", hint="give a field's name, a template or a list of texts")
    return {"doc_to_choice": tuple(choices)}


def _shots(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SHOTS:
        raise EvalError(f"{where} is not a number from 0 to {MAX_SHOTS}", hint="examples come from the dev split")
    return {"num_fewshot": value}


def _generation(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not set(value) <= {"until", "max_gen_toks", "do_sample", "temperature"}:
        raise EvalError(f"{where} may hold until, max_gen_toks, do_sample and temperature", hint="remove the others")
    if value.get("do_sample", False) is not False or value.get("temperature", 0) not in (0, 0.0):
        raise EvalError(f"{where} asks for sampling", hint="decoding is greedy, so that a figure can be repeated")
    until = value.get("until", [])
    until = [until] if isinstance(until, str) else until
    if not isinstance(until, list) or len(until) > 16 or not all(isinstance(stop, str) and stop for stop in until):
        raise EvalError(f"{where}: `until` is not a list of texts", hint="give at most 16 texts that end an answer")
    tokens = value.get("max_gen_toks", Task.max_gen_toks)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= MAX_GENERATED:
        raise EvalError(f"{where}: `max_gen_toks` is not a number from 1 to {MAX_GENERATED}", hint="make it shorter")
    return {"until": tuple(until), "max_gen_toks": tokens}


def _filters(value: Any, where: str) -> dict[str, Any]:
    try:
        (pipeline,) = value
        names = tuple(step["function"] for step in pipeline["filter"])
        plain = all(set(step) == {"function"} for step in pipeline["filter"])
    except (TypeError, ValueError, KeyError) as error:
        raise EvalError(f"{where} is not a list with one pipeline", hint="see lm-eval's filter_list") from error
    if not plain or not set(names) <= _FILTERS:
        raise UnsafeError(f"{where} may only use {', '.join(sorted(_FILTERS))}", hint=HOOK_HINT)
    return {"filters": names}


def _metadata(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnsafeError(f"{where} is not a plain value", hint=HOOK_HINT)
    found = {name: value[key] for key, name in (("cluster_by", "cluster"), ("count_by", "kind")) if key in value}
    if not all(isinstance(name, str) and name for name in found.values()):
        raise EvalError(f"{where}: `cluster_by` and `count_by` name a field each", hint="cluster_by: document")
    return found


_READERS: dict[str, Any] = {
    "metadata": _metadata,
    "doc_to_text": _text("doc_to_text"),
    "doc_to_target": _target,
    "doc_to_choice": _choice,
    "description": _text("description"),
    "target_delimiter": _text("target_delimiter"),
    "fewshot_delimiter": _text("fewshot_delimiter"),
    "num_fewshot": _shots,
    "generation_kwargs": _generation,
    "filter_list": _filters,
}

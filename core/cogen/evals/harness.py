"""The only module that uses lm-eval: plain rows go in, one figure a document comes out.

lm-eval gets a task configuration of column names and an in-memory list of rows, so none of its loaders
(``!function``, ``include``, data sets, unsandboxed Jinja) has anything to work on, and nothing is written to a cache.
Its import takes seconds and prints; both stay in here.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from cogen.errors import EvalError
from cogen.evals.documents import Row
from cogen.evals.settings import Settings, prefix_token_id
from cogen.evals.task import Task
from cogen.reporter import SILENT, Reporter

_LOGGERS = ("lm_eval", "datasets", "evaluate", "transformers", "huggingface_hub", "accelerate")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Third-party loggers print errors only, and third-party warnings are ignored."""
    # Setting a level empties the caches of all loggers: not again where this is nested.
    loggers = [logger for logger in map(logging.getLogger, _LOGGERS) if logger.level != logging.ERROR]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _closed() -> Iterator[None]:
    """lm-eval without its bars, and without a network should any of its code ask for one."""
    import huggingface_hub.constants
    import lm_eval.api.task

    with (
        mock.patch.object(lm_eval.api.task, "tqdm", lambda items, **_: items),
        mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    ):
        yield


class _Rows(list[dict[str, Any]]):
    """Just enough of a ``datasets.Dataset`` for lm-eval: a list with ``features``. It touches no disk."""

    def __init__(self, rows: Sequence[Row]) -> None:
        super().__init__(
            {
                "text": row.text,
                # lm-eval takes a list as "any of these will do" and tells by the first document.
                "target": list(row.target) if isinstance(row.target, tuple) else row.target,
                "choices": list(row.choices),
                "description": row.description,
            }
            for row in rows
        )
        self.features = dict.fromkeys(("text", "target", "choices", "description"))


def prepare() -> None:
    """Import lm-eval, which takes seconds: before the clock of a measurement starts."""
    with quiet():
        import lm_eval.evaluator
        import lm_eval.models.huggingface  # noqa: F401


def evaluate(
    model: Any,
    tokenizer: Any,
    task: Task,
    rows: Sequence[Row],
    examples: Sequence[Row],
    settings: Settings,
    reporter: Reporter = SILENT,
) -> list[float]:
    """One figure a document, in order: log-likelihood in nats (bits_per_byte), or 1.0 for right and 0.0 for wrong.

    :param model: a transformers causal language model, in the dtype that ``settings`` names.
    :param examples: stand solved before every document (few-shot).
    """
    _check(model, tokenizer, task, settings)
    with quiet(), _greedy(model):
        # lm-eval adds a padding token to a tokenizer that has none: that must not reach the caller's.
        lm = _wrap(model, copy.deepcopy(tokenizer), settings, reporter)
        with _closed():
            import lm_eval.evaluator
            from lm_eval.api.task import ConfigurableTask

            harness_task = ConfigurableTask(config=_config(task, rows, examples))
            harness_task.set_fewshot_seed(settings.seed)
            answer = lm_eval.evaluator.evaluate(
                lm=lm, task_dict={"tasks": {"suite": harness_task}, "groups": {}}, bootstrap_iters=0
            )
    samples = sorted(answer["samples"]["suite"], key=lambda sample: sample["doc_id"])
    values = [sample[task.metric] for sample in samples]
    return [float(value[0] if isinstance(value, tuple) else value) for value in values]


def _config(task: Task, rows: Sequence[Row], examples: Sequence[Row]) -> dict[str, Any]:
    """Column names only: no template, no path, no function of a plugin."""
    config: dict[str, Any] = {
        "task": "suite",
        "custom_dataset": lambda **_: {"rows": _Rows(rows)},
        "test_split": "rows",
        "output_type": task.output_type,
        "doc_to_text": "text",
        "doc_to_target": "target",
        "description": "description",
        "target_delimiter": task.target_delimiter,
        "fewshot_delimiter": task.fewshot_delimiter,
        "num_fewshot": len(examples),
        "fewshot_config": {"sampler": "first_n", "samples": list(_Rows(examples))},
        "metric_list": [{"metric": task.metric, "aggregation": "mean", "higher_is_better": True, **task.match_flags}],
    }
    if task.metric == "bits_per_byte":
        config["metric_list"][0] |= {"aggregation": "bits_per_byte", "higher_is_better": False}
    if task.metric == "acc":
        config["doc_to_choice"] = "choices"
    if task.metric == "exact_match":
        until = list(task.until) or [task.fewshot_delimiter]
        config["generation_kwargs"] = {"until": until, "max_gen_toks": task.max_gen_toks, "do_sample": False}
        if task.filters:
            steps = [{"function": name} for name in task.filters if name != "take_first"]
            config["filter_list"] = [{"name": "suite", "filter": [*steps, {"function": "take_first"}]}]
    return config


def _wrap(model: Any, tokenizer: Any, settings: Settings, reporter: Reporter) -> Any:
    """HFLM with every default pinned, without its bars, reporting the tokens that went through the model."""
    import torch
    from lm_eval.models.huggingface import HFLM

    class Wrapped(HFLM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
            return super().loglikelihood(requests, disable_tqdm=True)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
            # The prefix token stands before the text; a tokenizer that adds its own would make the model
            # predict that one too.
            lm: Any = self
            before = lm.add_bos_token
            lm.add_bos_token = False
            try:
                return super().loglikelihood_rolling(requests, disable_tqdm=True)
            finally:
                lm.add_bos_token = before

        def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
            return super().generate_until(requests, disable_tqdm=True)

        def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, override_bs: Any = None) -> Any:
            return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)

        def _model_call(self, inps: Any, attn_mask: Any = None, labels: Any = None) -> Any:
            logits = super()._model_call(inps, attn_mask, labels)
            reporter.advance(inps.numel())
            return logits

        def _model_generate(self, context: Any, max_length: int, stop: Any, **options: Any) -> Any:
            with torch.no_grad():
                tokens = super()._model_generate(context, max_length, stop, **options)
            reporter.advance(tokens.numel())
            return tokens

    return Wrapped(
        pretrained=model,
        tokenizer=tokenizer,
        backend="causal",
        max_length=settings.max_length,
        softmax_dtype=getattr(torch, settings.softmax_dtype),
        batch_size=settings.batch_size,
        logits_cache=settings.logits_cache,
        prefix_token_id=prefix_token_id(tokenizer),
    )


@contextlib.contextmanager
def _greedy(model: Any) -> Iterator[None]:
    """A model's own generation settings (sampling, penalties) would make its answers differ for no merit of its own."""
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)
    if own is None:
        yield
        return
    tokens = {name: getattr(own, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    kind: Any = GenerationConfig
    model.generation_config = kind(**tokens)
    try:
        yield
    finally:
        model.generation_config = own


def _check(model: Any, tokenizer: Any, task: Task, settings: Settings) -> None:
    found = str(model.dtype).removeprefix("torch.")
    if found != settings.dtype:
        raise EvalError(f"the model is in {found}, but {settings.dtype} was requested", hint="load it in that dtype")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and context < settings.max_length:
        raise EvalError(
            f"the model's context is {context} tokens, but evaluation uses windows of {settings.max_length}",
            hint=f"use --max-length {context}, for every model in the comparison",
        )
    if task.metric == "exact_match":
        if tokenizer.eos_token_id is None:
            raise EvalError(
                "the tokenizer has no end-of-text token, so generation never ends", hint="set its eos_token"
            )
        if task.max_gen_toks >= settings.max_length:
            raise EvalError(f"`max_gen_toks` fills the window of {settings.max_length} tokens", hint="lower it")

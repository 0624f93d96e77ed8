"""Departures around the arithmetic: the base, options, slices, configs, layouts, tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from merging import checkpoints, probes
from merging.departures import Departure, Verdict, exact, fails, merged
from merging.recipes import Recipe, Slice, Source
from merging.trials import Run, Trial

NORM, EMBEDDING, HEAD = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"


def _rows(count: int, tokens: Sequence[str]) -> dict[str, Any]:
    matrix = np.arange(2.0 * count).reshape(count, 2) + 1
    return {"weights": {EMBEDDING: matrix, HEAD: matrix}, "vocab_size": count, "tokens": tokens}


def _base_counts(runs: Sequence[Run]) -> Verdict:
    """Without a weight for the base an error; with one for all the base is averaged in; passthrough refuses."""
    bare, weighted, through = runs
    given = weighted.trial.inputs()
    averaged = np.allclose(weighted.tensor(), np.mean([given[name] for name in ("base", "a", "b")], axis=0))
    departs = "Missing required parameter weight" in (bare.error or "") and averaged and through.error is not None
    return departs, f"without a weight for it: {(bare.error or '')[:60]}…"


def _accepted(runs: Sequence[Run]) -> Verdict:
    count = sum(found.error is None for found in runs)
    return count == len(runs), f"{count} of {len(runs)} recipes with such an option were merged"


def _refused(runs: Sequence[Run]) -> bool:
    """Every error names what it is about."""
    return all(w in (r.error or "") for w, r in zip(("desnity", "nomalize", "dtpye", "lambda"), runs, strict=True))


def _first_of_a_set(runs: Sequence[Run]) -> Verdict:
    found = [one.config["max_position_embeddings"] for one in runs]
    return len(set(found)) > 1, f"max_position_embeddings by PYTHONHASHSEED: {found}"


def _one_source(runs: Sequence[Run]) -> Verdict:
    value = float(runs[0].tensor(NORM)[0])
    return value == 1.0, f"final norm of models with 1 and 2: {value:g}, documented 1.5"


def _two_sources(runs: Sequence[Run]) -> bool:
    return bool((runs[0].tensor(NORM) == 1.5).all())


def _contradictory(runs: Sequence[Run]) -> Verdict:
    found = runs[0]
    departs = bool(found.config["tie_word_embeddings"]) and HEAD in found.tensors()
    return departs, "an output matrix of its own in the files, tie_word_embeddings: true in the config"


def _left_out(runs: Sequence[Run]) -> Verdict:
    return "model.extra.weight" not in runs[0].tensors(), "a tensor of both models is missing in the result"


def _two_layers(value: float) -> dict[str, Any]:
    names = [name for name in (*probes.probe_names(), probes.PROBED) if ".0." in name]
    second = {name.replace(".0.", ".1."): np.ones((2, 2)) for name in names}
    return {"weights": second | {NORM: [value, value]}, "num_hidden_layers": 2}


_EACH = {"a": {"weight": 1}, "b": {"weight": 1}}
_PLAIN = {"base": np.ones((4, 4)), "a": np.full((4, 4), 2.0), "b": np.full((4, 4), 4.0)}
_ONE = {"weight": 1}
_SLICES = (Slice([Source("a", 0, 1, _ONE)]), Slice([Source("a", 1, 2, _ONE), Source("b", 1, 2, _ONE)]))
_LENGTHS = {name: {"max_position_embeddings": 64 * n} for n, name in enumerate("abc", start=1)}
_TIED = {"weights": {HEAD: None}, "tie_word_embeddings": True}
_EXTRA = {"weights": {"model.extra.weight": [1.0, 2]}}
_NEW = {"tokens": {"<z>": {"source": {"kind": "zero"}}}}

FILES = (
    Departure(
        "base-unused",
        "linear, passthrough",
        "base_model has no effect",
        "linear averages it in if it has a weight and stops if it has none; passthrough stops",
        (
            Trial(Recipe("linear", _EACH, "base"), _PLAIN),
            Trial(Recipe("linear", {"a": {}, "b": {}}, "base", {"weight": 1}), _PLAIN),
            Trial(Recipe("passthrough", {"a": {}}, "base"), _PLAIN),
        ),
        _base_counts,
        exact,
    ),
    Departure(
        "ignored",
        "all",
        "(nothing)",
        "options that do not exist, or not at that place, are ignored without a word",
        (
            Trial(Recipe("ties", {"a": {"weight": 1, "desnity": 0.1}}, "base"), _PLAIN),
            Trial(Recipe("ties", {"a": {"weight": 1}}, "base", {"nomalize": False}), _PLAIN),
            Trial(Recipe("linear", _EACH, top={"dtpye": "bfloat16"}), _PLAIN),
            Trial(Recipe("ties", {"a": {"weight": 1, "lambda": 5}, "b": {"weight": 1}}, "base"), _PLAIN),
        ),
        _accepted,
        _refused,
    ),
    Departure(
        "donor",
        "all, without base_model",
        "(nothing)",
        "config and tokenizer are those of the first model in the order of a Python set, which changes from run to run",
        tuple(
            Trial(
                Recipe("linear", _EACH | {"c": {"weight": 1}}),
                make=probes.several(
                    **{name: {"max_position_embeddings": 64 * n} for n, name in enumerate("abc", start=1)}
                ),
                process=process,
            )
            for process in range(8)
        ),
        _first_of_a_set,
        lambda runs: all(found.config["max_position_embeddings"] == 64 for found in runs),
    ),
    Departure(
        "slices-norm",
        "all, with slices",
        "(the embeddings are those of the first slice's sources, final norm and output matrix those of the last's)",
        "only as many of the last slice's sources count as the first slice has",
        (Trial(Recipe("linear", slices=_SLICES), make=probes.several(a=_two_layers(1.0), b=_two_layers(2.0))),),
        _one_source,
        _two_sources,
    ),
    Departure(
        "tied",
        "all",
        "(nothing)",
        "a tied base and an untied model give an output matrix, and a config that says that there is none",
        (
            Trial(
                Recipe("slerp", {"a": {}, "b": {}}, "a", {"t": 0.5}),
                make=probes.several(a=_TIED, b={"weights": {HEAD: [[3.0, 1], [1, 2]]}}),
            ),
        ),
        _contradictory,
    ),
    Departure(
        "extra",
        "all",
        "(nothing)",
        "tensors that its table of the architecture does not list are left out without a word",
        (
            Trial(
                Recipe("linear", _EACH),
                make=probes.several(a=_EXTRA, b=_EXTRA),
            ),
        ),
        _left_out,
    ),
    Departure(
        "neox",
        "all",
        "GPT-NeoX is supported",
        "its table requires buffers that checkpoints of current transformers do not have",
        (
            Trial(
                Recipe("linear", _EACH),
                make=lambda folder: checkpoints.small("gpt_neox", "float32", folder, buffers=False),
            ),
        ),
        fails("required but not present"),
        merged,
    ),
    Departure(
        "beyond",
        "all, with tokenizer or tokenizer_source",
        "vocabularies are combined by token",
        "stops at a token whose number is not less than the vocabulary size of its model's config",
        (
            Trial(
                Recipe("task_arithmetic", {"b": {"weight": 1}}, "a", top={"tokenizer": {"source": "union"}}),
                make=probes.several(a=_rows(7, ["<x>"]), b=_rows(6, ["<x>"])),
            ),
        ),
        fails("KeyError"),
        merged,
    ),
    Departure(
        "new-token",
        "all, with tokenizer",
        "tokens listed that do not exist are added automatically, e.g. with the source kind: zero",
        "stops if the tokenizer's source is the base",
        (
            Trial(
                Recipe("task_arithmetic", {"b": {"weight": 1}}, "a", top={"tokenizer": {"source": "base"} | _NEW}),
                make=probes.several(a=_rows(7, ["<x>"]), b=_rows(7, ["<x>"])),
            ),
        ),
        fails("KeyError"),
        merged,
    ),
)

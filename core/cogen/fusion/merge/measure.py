"""Models of a plan on its suites: one candidate on the dev parts, and the matrix on the test parts."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.checkpoints.load import assign, load_expert, load_model, own_loaders
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.evals import GENERAL, BoundSuite, Matrix, SuiteResult, model_digest, run_suites
from cogen.files import cache_dir
from cogen.fusion.merge.outputs import planned_outputs, write_candidate, write_composite
from cogen.fusion.merge.tokenizer import tokenizer_of
from cogen.fusion.plan import Plan
from cogen.fusion.planner import Inputs
from cogen.merging.engine import Engine
from cogen.merging.method import Method
from cogen.reporter import SILENT
from cogen.spec.expert import canonical_digest


@dataclass(frozen=True)
class Trial:
    """One point of a search: bits per byte on every expert's dev part, and the mean of their logarithms.

    ``parameters`` holds what was tuned beside the scale; a weight is called ``weight.ID``. A candidate that could not
    be measured has no objective, no figures, and in ``failure`` the reason.
    """

    scale: float
    objective: float | None
    bits_per_byte: dict[str, float]
    parameters: dict[str, float] = field(default_factory=dict)
    failure: str = ""


def mean_log(values: Mapping[str, float]) -> float:
    """Of bits per byte: the objective of every search."""
    return math.fsum(map(math.log, values.values())) / len(values)


def measure_candidate(
    plan: Plan, inputs: Inputs, method: Method, parameters: Mapping[str, float], progress: Any = None
) -> dict[str, float]:
    """Bits per byte on every expert's dev part of the composite with these parameters, which win over the plan's."""
    suites = [b for b in inputs.suites if b.owner != GENERAL and b.suite.metric == "bits_per_byte"]
    # Neither the other candidates nor the budget make this one another: what an earlier search measured is known.
    alone = plan.model_copy(update={"scales": (), "search": 0, "space": {}})
    digest = canonical_digest({"inputs": alone.inputs_digest, "parameters": dict(parameters)})
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".candidates.") as scratch:
        file = Path(scratch) / "candidate.safetensors"
        experts = list(inputs.experts.values())

        def load() -> Any:
            if plan.vocabulary is not None:  # it doesn't fit into the base
                whole = Path(scratch) / "candidate"
                whole.mkdir()
                write_composite(
                    plan, inputs.base, experts, method, parameters, whole, grams=inputs.grams, lexicon=inputs.lexicon
                )
                return load_model(open_folder(whole), plan.eval_dtype)
            with Engine() as engine:
                made = planned_outputs(plan, inputs.base, experts, method, engine, parameters, inputs.grams)
                write_candidate(made, engine, file)
            return _with(plan, inputs.base, file)

        found = _run(plan, inputs, "composite", suites, load, digest, "dev", "quick", progress)
    return {result.column: result.value for result in found}


def measure_matrix(plan: Plan, inputs: Inputs, composite: Path, progress: Any = None) -> Matrix:
    """Rows base, every expert by id, composite; columns every suite of the plan, on the test parts."""
    host, dtype = inputs.host, plan.eval_dtype
    whole = open_folder(composite)
    loaders = own_loaders(host)
    models: dict[str, tuple[str, Callable[[], Any]]] = {
        "base": (model_digest(inputs.base), lambda: load_model(inputs.base, dtype))
    }
    for id, checkpoint in sorted(inputs.experts.items()):
        spec = host.expert(id).spec
        models[id] = (model_digest(checkpoint, loaders), functools.partial(load_expert, host, spec, checkpoint, dtype))
    models["composite"] = (model_digest(whole), lambda: load_model(whole, dtype))
    rows: dict[str, list[SuiteResult]] = {}
    for name, (key, load) in models.items():
        if progress:
            progress.describe(name)
        rows[name] = _run(plan, inputs, name, inputs.suites, load, key, "test", plan.level, progress)
    return Matrix.of(rows)


def _run(
    plan: Plan,
    inputs: Inputs,
    row: str,
    suites: Sequence[BoundSuite],
    load: Callable[[], Any],
    digest: str,
    part: Any,
    level: Any,
    progress: Any,
) -> list[SuiteResult]:
    """Every model reads with its own tokenizer, and all read the documents that the base's would take."""
    tokenizer, own = tokenizer_of(plan, inputs, row)
    return run_suites(
        load,
        tokenizer,
        suites,
        model_digest=digest,
        tokenizer_digest=own,
        split=part,
        level=level,
        dtype=plan.eval_dtype,
        reporter=progress or SILENT,
        chooser=(inputs.tokenizer, plan.tokenizer_digest),
    )


def _with(plan: Plan, base: Checkpoint, file: Path) -> Any:
    """The base with a candidate's tensors in it."""
    model = load_model(base, plan.eval_dtype)
    assign(model, {name: read_tensor(info) for name, info in read_header(file).items()})
    return model

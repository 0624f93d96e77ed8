"""Models of a plan on its suites: the search for the scale, and the matrix."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.cache import cache_dir
from cogen.checkpoints.load import assign, load_expert, load_model, own_loaders
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.evals import GENERAL, BoundSuite, Matrix, SuiteResult, model_digest, run_suites
from cogen.fusion.engine import write_candidates
from cogen.fusion.plan import Plan
from cogen.fusion.planner import Inputs
from cogen.spec.expert import canonical_digest


@dataclass(frozen=True)
class Trial:
    """One value of the scale: bits per byte on every expert's dev part, and the mean of their logarithms."""

    scale: float
    objective: float
    bits_per_byte: dict[str, float]


def search_scale(plan: Plan, inputs: Inputs, method: Any, progress: Any = None) -> tuple[float, list[Trial]]:
    """The scale with the lowest mean log bits per byte over the experts' dev parts; the smallest one among equals.

    A mean of logarithms weighs a saving of one percent the same in every domain. Test parts and the general suite
    play no part. One value is no search.
    """
    if len(plan.scales) == 1:
        return plan.scales[0], []
    experts = list(inputs.experts.values())
    suites = [b for b in inputs.suites if b.owner != GENERAL and b.suite.metric == "bits_per_byte"]
    trials = []
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".candidates.") as scratch:
        if progress:
            progress.describe("merging")
        files = write_candidates(plan, inputs.base, experts, method, Path(scratch))
        for scale, file in zip(plan.scales, files, strict=True):
            digest = canonical_digest({"inputs": plan.inputs_digest, "scale": scale})
            if progress:
                progress.describe(f"scale {scale:g}")
            found = _run(
                plan, inputs, suites, lambda file=file: _with(plan, inputs.base, file), digest, "dev", "quick", progress
            )
            values = {result.column: result.value for result in found}
            trials.append(Trial(scale, math.fsum(map(math.log, values.values())) / len(values), values))
    best = min(trials, key=lambda trial: (trial.objective, trial.scale))
    return best.scale, trials


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
        rows[name] = _run(plan, inputs, inputs.suites, load, key, "test", plan.level, progress)
    return Matrix.of(rows)


def _run(
    plan: Plan, inputs: Inputs, suites: Sequence[BoundSuite], load: Callable[[], Any], digest: str, part: Any,
    level: Any, progress: Any,
) -> list[SuiteResult]:  # fmt: skip
    return run_suites(
        load, inputs.tokenizer, suites, model_digest=digest, tokenizer_digest=plan.tokenizer_digest,
        part=part, level=level, dtype=plan.eval_dtype, progress=progress,
    )  # fmt: skip


def _with(plan: Plan, base: Checkpoint, file: Path) -> Any:
    """The base with a candidate's tensors in it."""
    model = load_model(base, plan.eval_dtype)
    assign(model, {name: read_tensor(info) for name, info in read_header(file).items()})
    return model

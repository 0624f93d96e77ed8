"""Models of a plan on its suites: the search for the scale, and the matrix."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.cache import cache_dir
from cogen.checkpoints.load import assign, load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.evals import GENERAL, BoundSuite, Matrix, SuiteResult, model_digest, run_suites
from cogen.fusion.engine import changed_names, write_candidates
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
    rows: dict[str, list[SuiteResult]] = {}
    models: list[tuple[str, Checkpoint]] = [("base", inputs.base)]
    models += sorted(inputs.experts.items())
    models.append(("composite", open_folder(composite)))
    for name, checkpoint in models:
        if progress:
            progress.describe(name)
        rows[name] = _run(
            plan, inputs, inputs.suites, lambda checkpoint=checkpoint: load_model(checkpoint, plan.eval_dtype),
            model_digest(checkpoint), "test", plan.level, progress,
        )  # fmt: skip
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


def touched(plan: Plan, inputs: Inputs) -> int:
    """How many tensors a merge computes; the others are copied."""
    return len(changed_names(inputs.base, list(inputs.experts.values())))

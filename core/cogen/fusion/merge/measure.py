"""Models of a plan on its suites: one candidate on the dev splits, and the matrix on the test splits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.cache import scratch
from cogen.checkpoints.load import assign, load_expert, load_model, own_loaders
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.evals import GENERAL, BoundSuite, Matrix, SuiteResult, model_digest, run_chat, run_suites
from cogen.evals.matrix import MatrixKind, suites_for
from cogen.evals.settings import Level, Split
from cogen.fusion.merge.inputs import Inputs, tokenizer_of
from cogen.fusion.merge.outputs import MergeJob, planned_outputs, write_candidate, write_composite
from cogen.merging.engine import Engine
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest


@dataclass(frozen=True)
class Trial:
    """One point of a search: bits per byte on every expert's dev split, and the mean of their logarithms.

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


@dataclass(frozen=True)
class MeasureJob:
    """How the rows of a plan are measured.

    :param tokenizer_digest: of the base's tokenizer.
    :param level: of the matrix; candidates are always measured at the level quick.
    :param matrix: what experts are measured on.
    """

    inputs: Inputs
    tokenizer_digest: str
    dtype: str
    level: Level
    matrix: MatrixKind = "full"

    def suites_for(self, *experts: str) -> list[BoundSuite]:
        """What a row that stands for these experts is measured on; without any: all suites."""
        return suites_for(experts or None, self.inputs.suites, self.matrix)

    def run(
        self,
        row: str,
        suites: Sequence[BoundSuite],
        load: Callable[[], Any],
        digest: str,
        split: Split,
        level: Level,
        reporter: Reporter = SILENT,
    ) -> list[SuiteResult]:
        """Every model reads with its own tokenizer, and all read the documents that the base's would take.

        :param load: gives the model of this row; called only if a result is not in the cache.
        """
        tokenizer, own = tokenizer_of(self.inputs, row, self.tokenizer_digest)
        return run_suites(
            load,
            tokenizer,
            suites,
            model_digest=digest,
            tokenizer_digest=own,
            split=split,
            level=level,
            dtype=self.dtype,
            reporter=reporter,
            chooser=(self.inputs.tokenizer, self.tokenizer_digest),
        )

    def chat(self, row: str, load: Callable[[], Any], digest: str, reporter: Reporter = SILENT) -> list[SuiteResult]:
        """The row's figure of the chat suite, if it has a chat template; the level quick asks base and composite only.

        Generating takes much longer than reading, and an expert's answers are not what a composite is chosen for.
        """
        if self.level == "quick" and row not in ("base", "composite"):
            return []
        tokenizer, own = tokenizer_of(self.inputs, row, self.tokenizer_digest)
        found = run_chat(
            load,
            tokenizer,
            model_digest=digest,
            tokenizer_digest=own,
            level=self.level,
            dtype=self.dtype,
            reporter=reporter,
        )
        return [] if found is None else [found]


def measure_candidate(
    job: MergeJob, evaluation: MeasureJob, key: str, parameters: Mapping[str, float], reporter: Reporter = SILENT
) -> dict[str, float]:
    """Bits per byte on every expert's dev split of the composite with these parameters, which win over the job's.

    :param key: digest of what decides the weights beside the parameters.
    """
    suites = [b for b in evaluation.inputs.suites if b.owner != GENERAL and b.suite.metric == "bits_per_byte"]
    digest = canonical_digest({"inputs": key, "parameters": dict(parameters)})
    with scratch("candidates") as place:
        file = place / "candidate.safetensors"

        def load() -> Any:
            if job.vocabulary is not None:  # it doesn't fit into the base
                whole = place / "candidate"
                whole.mkdir()
                write_composite(job, parameters, whole)
                return load_model(open_folder(whole), evaluation.dtype)
            with Engine(verified=True) as engine:
                write_candidate(planned_outputs(job, engine, parameters), engine, file)
            return _with(job.base, file, evaluation.dtype)

        found = evaluation.run("composite", suites, load, digest, "dev", "quick", reporter)
    return {result.column: result.value for result in found}


def measure_matrix(evaluation: MeasureJob, composite: Path, reporter: Reporter = SILENT) -> Matrix:
    """Rows base, every expert by id, composite; columns every suite of the plan, on the test splits, and chat.

    Experts have figures of their own suites and general text, or with a full matrix of all.
    """
    inputs, dtype = evaluation.inputs, evaluation.dtype
    host = inputs.host
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
        reporter.describe(name)
        once = functools.cache(load)  # bound here alone: the model goes when the next row comes
        suites = evaluation.suites_for(*({name} & inputs.experts.keys()))
        rows[name] = evaluation.run(name, suites, once, key, "test", evaluation.level, reporter)
        rows[name] += evaluation.chat(name, once, key, reporter)
    return Matrix.of(rows, [bound.name for bound in inputs.suites])


def _with(base: Checkpoint, file: Path, dtype: str) -> Any:
    """The base with a candidate's tensors in it."""
    model = load_model(base, dtype)
    assign(model, {name: read_tensor(info) for name, info in read_header(file).items()})
    return model

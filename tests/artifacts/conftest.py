"""A made-up fusion whose figures agree with each other: experts, plan, checkpoint folder, matrix and trials."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.manifests import make_expert

from cogen.artifacts.lock import Lock, make_lock
from cogen.evals import Matrix, Settings, SuiteResult
from cogen.evals.statistics import interval, ratio_of_sums
from cogen.fusion.merge.measure import Trial
from cogen.fusion.plan import Cost, Note, Plan, PlannedExpert, PlannedSuite
from cogen.host import Expert
from cogen.spec.expert import canonical_digest

IDS = ("clinical", "energy", "materials", "neuro", "power")
SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)


def result(
    column: str, value: float, *, n: int = 12, metric: str = "bits_per_byte", level: str = "full"
) -> SuiteResult:
    """A result of the given value. Documents differ, and keep their difficulty from model to model, as real ones do."""
    owner, _, suite = column.partition("/")
    if metric == "bits_per_byte":
        sizes = [300.0 + 40 * (i % 5) for i in range(n)]
        rough = [
            size * value * (1 + 0.2 * math.sin(7 * i + len(column)) + 0.02 * math.sin(value * 50 * i))
            for i, size in enumerate(sizes)
        ]
        fix = value * sum(sizes) / sum(rough)
        pairs = tuple((top * fix, size) for top, size in zip(rough, sizes, strict=True))
    else:
        pairs = tuple((float(i < round(value * n)), 1.0) for i in range(n))
    low, high = interval(pairs, Settings(dtype="float32")) or (None, None)
    return SuiteResult(
        owner=owner,
        suite=suite,
        metric=metric,
        split="test",
        level=level,
        value=ratio_of_sums(pairs),
        n=n,
        low=low,
        high=high,
        per_document=pairs,
        documents=f"documents of {column}",
        tokens=100 * n,
        seconds=1.5,
        key="sha256:" + "1" * 64,
    )


def make_matrix(ids: Sequence[str] = IDS, *, n: int = 12, kept: float = 0.7, level: str = "full") -> Matrix:
    """Every specialist saves 10 to 30 % on its own suite and little elsewhere; the composite keeps ``kept`` of it."""
    base = {f"{id}/heldout": 0.8 + 0.13 * i for i, id in enumerate(ids)} | {"general/general": 1.02}
    rows: dict[str, list[SuiteResult]] = {"base": [result(c, v, n=n, level=level) for c, v in base.items()]}
    gain = {id: 0.10 + 0.05 * i for i, id in enumerate(ids)}
    for id in ids:
        factor = {c: 1 - gain[id] if c.startswith(f"{id}/") else 1.012 for c in base}
        rows[id] = [result(c, v * factor[c], n=n, level=level) for c, v in base.items()]
    rows["composite"] = [
        result(
            c,
            v * (1 - gain[c.partition("/")[0]]) ** kept if not c.startswith("general") else v * 1.004,
            n=n,
            level=level,
        )
        for c, v in base.items()
    ]
    return Matrix.of(rows)


def make_plan(experts: Sequence[Expert], **changes: Any) -> Plan:
    """A plan of these experts, as the planner would write it."""
    base = experts[0].spec.model.base
    assert base is not None
    planned = [
        PlannedExpert(
            id=e.id,
            title=e.spec.title,
            distribution=e.distribution,
            version=e.version,
            publisher=e.spec.publisher,
            license=e.spec.license,
            derivatives=e.spec.derivatives,
            relation=e.spec.model.relation,
            spec_digest=e.spec.digest,
            file_digest=e.spec.model.file_digest,
            weights_digest=canonical_digest(e.id),
            data_digest=canonical_digest(e.spec.data.model_dump(mode="json")),
            weight=1.0,
        )
        for e in experts
    ]
    suites = [
        PlannedSuite(
            owner=owner,
            id=suite,
            title=title,
            metric="bits_per_byte",
            task_digest=canonical_digest("task"),
            dev_digest=canonical_digest("dev"),
            test_digest=canonical_digest([owner, suite]),
            dev_tokens=480,
            test_tokens=1432,
        )
        for owner, suite, title in [
            *((e.id, "heldout", e.spec.suites[0].title) for e in experts),
            ("general", "general", "General English"),
        ]
    ]
    values: dict[str, Any] = {
        "cogen": "0.1.0",
        "strategy": "merge",
        "method": "task_arithmetic",
        "why": "one base",
        "base": base,
        "tokenizer_digest": experts[0].spec.tokenizer.digest,
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "experts": tuple(sorted(planned, key=lambda e: e.weights_digest)),
        "parameters": {},
        "scales": SCALES,
        "level": "full",
        "eval_dtype": "float32",
        "suites": tuple(suites),
        "license": experts[0].spec.license,
        "tensors": 272,
        "changed_tensors": 90,
        "cost": Cost(
            search_tokens=12_000,
            matrix_tokens=60_144,
            output_bytes=269_060_000,
            scratch_bytes=10**9,
            memory_bytes=2 * 10**9,
        ),
    }
    return Plan.model_validate(values | changes)


def make_trials(ids: Sequence[str] = IDS) -> list[Trial]:
    """A valley with its lowest point at 0.6."""
    found = []
    for scale in SCALES:
        values = {f"{id}/heldout": (0.7 + 0.1 * i) * (1 + 0.4 * (scale - 0.6) ** 2) for i, id in enumerate(ids)}
        found.append(Trial(scale, math.fsum(map(math.log, values.values())) / len(values), values))
    return found


def write_checkpoint(folder: Path) -> Path:
    """The smallest folder that is a checkpoint."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file({"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "composite")


@pytest.fixture
def experts(tmp_path: Path) -> list[Expert]:
    return [make_expert(tmp_path / "plugins", id) for id in IDS]


@pytest.fixture
def plan(experts: list[Expert]) -> Plan:
    note = Note(severity="warning", source="cogen", message="read the licences before you publish")
    return make_plan(experts, notes=(note,))


@pytest.fixture(scope="session")
def matrix() -> Matrix:
    return make_matrix()


@pytest.fixture
def trials() -> list[Trial]:
    return make_trials()


@pytest.fixture
def lock(plan: Plan, trials: list[Trial], folder: Path, matrix: Matrix) -> Lock:
    return make_lock(plan, 0.6, trials, folder, matrix)


@pytest.fixture
def figures() -> Callable[..., SuiteResult]:
    """``figures(column, value, …)``: one result."""
    return result


@pytest.fixture
def build() -> SimpleNamespace:
    """``build.plan(experts)``, ``build.matrix(ids)``, ``build.checkpoint(folder)``: for a fusion of one's own."""
    return SimpleNamespace(plan=make_plan, matrix=make_matrix, checkpoint=write_checkpoint)

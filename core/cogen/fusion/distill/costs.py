"""What a distillation costs: tokens, hours and bytes of every stage, estimated on this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cogen.evals.matrix import MatrixKind, suites_for
from cogen.fusion.details import DistillDetails, PlannedStage
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.sources import OpenModel, parameters_of
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.plan import Cost, PlannedSuite
from cogen.fusion.speed import FORWARD, seconds

#: Operations a parameter and token: forward, and twice as many in a backward pass that reaches weights; with frozen
#: weights it only passes gradients on.
_TRAIN = {"full": 6, "lora": 4}


def bytes_a_token(needs: TeacherStatistics) -> int:
    """Of the teacher cache."""
    return 2 * needs.logprob + 2 * needs.boundary + 2 * needs.top + round(2.4 * needs.sparse)


def stages(
    plan: DistillDetails,
    student: OpenModel,
    teachers: Sequence[OpenModel],
    read: int,
    needs: TeacherStatistics,
    suites: Sequence[PlannedSuite],
    level: str,
    matrix: MatrixKind = "full",
) -> list[PlannedStage]:
    """In the order in which they are done.

    :param read: tokens that every teacher reads, in the student's tokenizer.
    :param matrix: what experts and teachers are measured on.
    """
    found = []
    for source, model in zip((student, *teachers), (plan.pivot, *plan.teachers), strict=True):
        if source.plan is not None:
            cost = source.plan.cost
            tokens = cost.search_tokens + cost.routing_tokens
            found.append(
                PlannedStage(
                    stage="compose",
                    what=model.name,
                    tokens=tokens,
                    bytes=cost.output_bytes,
                    seconds=seconds(model.parameters, tokens, FORWARD),
                )
            )
    for model in plan.teachers:
        found.append(
            PlannedStage(
                stage="score",
                what=model.name,
                tokens=read,
                seconds=seconds(model.parameters, read, FORWARD),
                bytes=read * bytes_a_token(needs),
            )
        )
    settings: Distillation = plan.settings
    once = seconds(plan.pivot.parameters, plan.tokens, _TRAIN[settings.mode])
    found.append(PlannedStage(stage="control", what=plan.pivot.name, tokens=plan.tokens, seconds=once))
    runs = len(plan.teachers) if settings.arrangement == "pairwise" else 1
    found.append(
        PlannedStage(stage="teach", what=plan.pivot.name, tokens=runs * plan.tokens, seconds=round(runs * once, 1))
    )
    if level != "none":
        for model in (plan.pivot, *plan.teachers):
            # Every expert by itself; beside it the student before, its control and the composite, or what teaches.
            rows: list[Collection[str] | None] = [{id} for id in model.experts]
            rows += [None] * 3 if model is plan.pivot else [model.experts] * bool(model.composed)
            tokens = sum(suite.test_tokens for owners in rows for suite in suites_for(owners, suites, matrix))
            time_ = seconds(model.parameters, tokens, FORWARD)
            found.append(PlannedStage(stage="measure", what=model.name, tokens=tokens, seconds=time_))
    return found


def cost_of(
    steps: Sequence[PlannedStage], student: OpenModel, teachers: Sequence[OpenModel], settings: Distillation
) -> Cost:
    """The plan's sums: tokens by purpose, bytes on disk, and the largest model's memory while it trains or reads."""
    own, largest = parameters_of(student), max(map(parameters_of, teachers), default=0)
    # Training: weights, and for all of them (full) gradients and two moments in float32; reading: bfloat16 weights.
    train = own * (16 if settings.mode == "full" else 3)
    return Cost(
        search_tokens=sum(s.tokens for s in steps if s.stage == "compose"),
        teaching_tokens=sum(s.tokens for s in steps if s.stage in ("score", "control", "teach")),
        matrix_tokens=sum(s.tokens for s in steps if s.stage == "measure"),
        output_bytes=2 * own,
        scratch_bytes=sum(s.bytes for s in steps),
        memory_bytes=max(train, 2 * largest) + (2 << 30),
    )

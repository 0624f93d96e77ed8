"""``Plan``: what will be done, in order, with costs and digests; JSON that can be reviewed and replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from cogen.errors import PlanError, SpecError
from cogen.fusion.details import Details, MergeDetails, check_tag, from_version_1, to_version_1
from cogen.fusion.recipe import Level, MatrixKind, Transplant
from cogen.merging.parameters import Setting
from cogen.spec.base import Digest, ExpertId, Frozen
from cogen.spec.expert import canonical_digest
from cogen.spec.model import BaseRef, Dtype
from cogen.untrusted.json_text import parse_object

PLAN_VERSION: Final = 2


class PlannedExpert(Frozen):
    """One expert with everything that would make the result another one."""

    id: ExpertId
    title: str
    distribution: str
    version: str
    publisher: str
    license: str
    derivatives: str
    relation: str
    spec_digest: Digest
    file_digest: Digest
    weights_digest: Digest
    data_digest: Digest
    weight: Setting
    #: The method's parameters that are its own.
    parameters: dict[str, Setting] = Field(default_factory=dict)
    #: Empty in plans of before it was written down.
    tokenizer_digest: Digest | Literal[""] = ""


class PlannedSuite(Frozen):
    """A column of the matrix: digests of its data, and the tokens of one cell."""

    owner: str
    id: str
    title: str
    metric: str
    task_digest: Digest
    dev_digest: Digest
    test_digest: Digest
    dev_tokens: int
    test_tokens: int


class PlannedVocabulary(Frozen):
    """What was decided about the composite's tokens; ``tokenizer_digest`` is of its tokenizer.

    :param size: rows of its embedding.
    :param added: tokens that the base lacks; ``dropped``: those of base and experts that the composite lacks.
    :param digest: of every token, the row that each model takes for it, and what changes in the configuration.
    """

    tokenizer_digest: Digest
    size: int
    added: int
    dropped: int
    digest: Digest
    notes: tuple[str, ...] = ()


class Cost(Frozen):
    """What the run takes, beside the download of the base: tokens through a model, and bytes.

    ``routing_tokens`` go through the model to make routers, ``insight_tokens`` to show what each expert contributes,
    ``teaching_tokens`` through teachers and student, ``ensemble_tokens`` through the
    ensemble that a route is compared with.
    """

    search_tokens: int
    matrix_tokens: int
    output_bytes: int
    scratch_bytes: int
    memory_bytes: int
    routing_tokens: int = 0
    insight_tokens: int = 0
    teaching_tokens: int = 0
    ensemble_tokens: int = 0
    #: Of the model that a token goes through in most of these passes: the base. 0: not known.
    parameters: int = 0

    @model_serializer(mode="wrap")
    def _without_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plans made before ``parameters`` keep their digest."""
        found: dict[str, Any] = handler(self)
        return {name: value for name, value in found.items() if name != "parameters" or value}

    @property
    def forward_tokens(self) -> int:
        """All of them."""
        return sum(value for name, value in self if name.endswith("_tokens"))


class Note(Frozen):
    """Something that a reader of the plan should know, from CoGen or from a plugin's review."""

    severity: str
    source: str
    message: str


def plan_digest(plan: dict[str, Any]) -> str:
    """Of a plan's JSON, of any version: a later version's plan has the digest that it had in version 1."""
    return canonical_digest(to_version_1(plan) if "details" in plan else plan)


class PlanBase(Frozen):
    """What every plan has, whatever its strategy does: who takes part, what is measured, what it costs.

    Version 1 had the fields ``mixture`` and ``distillation`` in the place of ``details``; it is still read.
    """

    version: Literal[2] = PLAN_VERSION
    cogen: str
    strategy: str
    why: str
    experts: tuple[PlannedExpert, ...]
    level: Level
    eval_dtype: Dtype
    suites: tuple[PlannedSuite, ...]
    #: What experts are measured on. Plans of before there was a choice have no such field: all were measured on all.
    matrix: MatrixKind = "full"
    cost: Cost
    notes: tuple[Note, ...] = ()
    details: Details

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, value: Any) -> Any:
        old = isinstance(value, dict) and "details" not in value and value.get("version", 1) == 1
        return from_version_1(value) if old else value

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plans of before ``matrix`` and ``generation_config`` keep their digest."""
        found: dict[str, Any] = handler(self)
        former = {"matrix": "full", "generation_config": None}
        return {name: value for name, value in found.items() if name not in former or value != former[name]}

    @model_validator(mode="after")
    def _one_strategy(self) -> Self:
        check_tag(self.strategy, self.details)
        return self

    def _repr_html_(self) -> str:
        """For notebooks: experts, reason and cost."""
        from cogen.display import table

        rows = [
            (e.id, str(e.weight), e.relation, e.license, f"{e.distribution} {e.version}")
            for e in sorted(self.experts, key=lambda e: e.id)
        ]
        cost = self.cost
        lines = (
            self.why,
            f"{cost.forward_tokens:,} forward tokens; writes {cost.output_bytes / 1e6:,.0f} MB, "
            f"memory about {cost.memory_bytes / 1e9:.1f} GB",
            *(f"{note.source}: {note.message}" for note in self.notes),
        )
        heads = ("expert", "weight", "relation", "license", "distribution")
        return table(f"plan of strategy {self.strategy}", heads, rows, lines)

    @property
    def digest(self) -> str:
        """Of the plan's meaning; the same for the same options on the same experts."""
        return plan_digest(self.model_dump(mode="json"))


class Plan(PlanBase):
    """The plan of one model: a merge or mixture of experts of one lineage, or a distillation.

    ``experts`` stand in the order of their weights digests, that of the sum. Where the method gives the order a meaning
    (t = 0 is the first) it is that of the recipe.
    """

    method: str
    base: BaseRef
    tokenizer_digest: Digest
    architecture: str
    dtype: Dtype
    parameters: dict[str, Setting]
    #: Values to try on the dev splits; one value is no search.
    scales: tuple[float, ...]
    #: Evaluations that tuning may take, and what is tuned; 0: only the scales are tried. A search without a space
    #: chooses among the experts.
    search: int = 0
    space: dict[str, tuple[float, float]] = Field(default_factory=dict)
    license: str
    tensors: int
    changed_tensors: int
    #: The recipe's options, and what they came to; None: the base's tokens.
    tokenizer: str | None = None
    transplant: Transplant = "mean"
    chat_template: str | None = None
    generation_config: str | None = None
    vocabulary: PlannedVocabulary | None = None
    details: Details = MergeDetails()

    @property
    def evaluations(self) -> int:
        """Candidates that are measured on the dev splits before one is built; 0: there is nothing to choose."""
        return self.search or (len(self.scales) if len(self.scales) > 1 else 0)

    @property
    def inputs_digest(self) -> str:
        """Of everything that decides the weights before a search: experts, base, method, parameters, scales."""
        keep = {"strategy", "method", "base", "tokenizer_digest", "dtype", "parameters", "scales", "search", "space"}
        value = self.model_dump(mode="json", include=keep)
        value["experts"] = [
            [e["weights_digest"], e["file_digest"], e["weight"], e["parameters"]]
            for e in self.model_dump(mode="json", include={"experts"})["experts"]
        ]
        if self.vocabulary is not None:
            value["vocabulary"] = [
                self.tokenizer,
                self.transplant,
                self.vocabulary.digest,
                self.vocabulary.tokenizer_digest,
                *(expert.tokenizer_digest for expert in self.experts),
            ]
        value |= self.details.deciding(self.experts)
        return canonical_digest(value)


def read_plan(path: Path) -> Plan:
    """A plan that `cogen plan -o` saved.

    :raises SpecError: not a plan.
    """
    try:
        return Plan.model_validate_json(json.dumps(parse_object(path.read_bytes())))
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read: {error.strerror}", hint="`cogen plan -o plan.json` writes one"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        text = f"{place}: {first['msg']}" if place else first["msg"]
        raise SpecError(f"{path.name} is not a plan: {text}", hint="make it again with `cogen plan -o`") from error
    except ValueError as error:
        raise SpecError(f"{path.name} is not a plan: {error}", hint="make it again with `cogen plan -o`") from error


def moved(saved: Plan, now: Plan) -> list[str]:
    """What differs between a saved plan and what is installed now, in words; empty: nothing."""
    found = []
    old, new = {e.id: e for e in saved.experts}, {e.id: e for e in now.experts}
    found += [f"expert {id} is not installed any more" for id in sorted(old.keys() - new.keys())]
    for id in sorted(old.keys() & new.keys()):
        for what in ("weights_digest", "file_digest", "spec_digest", "data_digest", "tokenizer_digest"):
            before, after = getattr(old[id], what), getattr(new[id], what)
            if before and after and before != after:
                found.append(
                    f"the {what.replace('_', ' ')} of {id} ({new[id].distribution} {new[id].version}) has moved"
                )
                break
    if not found and list(old) != list(new):
        found.append("the experts are not in the order of their digests")
    for what in ("weights_digest", "file_digest"):
        if getattr(saved.base, what) != getattr(now.base, what):
            found.append(f"the base has another {what.replace('_', ' ')}")
    if saved.tokenizer_digest != now.tokenizer_digest:
        found.append("the tokenizer has another digest")
    if _vocabulary_digests(saved) != _vocabulary_digests(now):
        found.append("the composite would have another vocabulary")
    had, has = {(s.owner, s.id): s for s in saved.suites}, {(s.owner, s.id): s for s in now.suites}
    for key in sorted(had.keys() & has.keys()):
        if (had[key].dev_digest, had[key].test_digest) != (has[key].dev_digest, has[key].test_digest):
            found.append(f"the data of suite {key[0]}/{key[1]} have moved")
        elif had[key].task_digest != has[key].task_digest:
            found.append(f"the task of suite {key[0]}/{key[1]} has moved")
    if saved.level == now.level:
        found += [f"suite {owner}/{id} came or went" for owner, id in sorted(had.keys() ^ has.keys())]
    return found


def _vocabulary_digests(plan: Plan) -> tuple[str, str] | None:
    return None if plan.vocabulary is None else (plan.vocabulary.digest, plan.vocabulary.tokenizer_digest)


def check_unmoved(saved: Plan, now: Plan, what: str) -> None:
    """:raises PlanError: naming the first thing that moved."""
    found = moved(saved, now)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PlanError(f"{what} no longer holds: {found[0]}{more}", hint="review a new one: `cogen plan -o plan.json`")

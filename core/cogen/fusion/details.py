"""What a plan has that is its strategy's own: ``Plan.details``, a union with one variant a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, JsonValue, SerializerFunctionWrapHandler, Tag, model_serializer

from cogen.fusion.distill.settings import Distillation
from cogen.fusion.recipe import Routing
from cogen.spec.base import Digest, ExpertId, Frozen, SourceUri
from cogen.spec.model import BaseRef

if TYPE_CHECKING:
    from cogen.fusion.plan import PlannedExpert


class MergeDetails(Frozen):
    """A merge has nothing beside what every plan of a model has: method, scales, search."""

    #: Field of a plan of version 1 that held the variant; "" where it had none.
    FIELD: ClassVar[str] = ""
    strategy: Literal["merge"] = "merge"

    def size(self, base: int) -> int:
        """Parameters of the result, of a base of ``base`` parameters."""
        return base

    def deciding(self, experts: Sequence[PlannedExpert]) -> dict[str, Any]:
        """What decides the weights, for :attr:`~cogen.fusion.plan.Plan.inputs_digest`."""
        return {}


class PlannedPrefix(Frozen):
    """What routing ``prefix`` adds to a mixture; see docs/prefix-routing.md.

    :param public: the first slot's feed-forward blocks: the "mean" of the experts', or those of the "base".
    :param hidden: width of the stream, ``heads`` and ``groups`` of the attention, after widening.
    :param depth: of the kernel; see :mod:`cogen.routing.kernel`.
    :param strength: what the routers multiply mean evidence by.
    :param mass: what the prefix token, which says nothing, weighs against the newest token.
    :param turn: the token that begins a message of the user in the base's chat template; None: nothing is forgotten
        there, as in the composites of earlier versions.
    :param reset: how much of what was read before it the second layer takes out of the average.
    """

    public: Literal["mean", "base"]
    hidden: int
    heads: int
    groups: int
    depth: float
    strength: float
    mass: float
    turn: int | None = None
    reset: float = 0.0


class MoeDetails(Frozen):
    """What a plan of strategy moe builds beside the weights of its experts.

    :param model_type, architecture: of the mixture, as transformers calls it.
    :param slots: "base" or experts' ids, in the order of the routers' rows.
    :param width: intermediate size of every expert; narrower ones are padded with zeros.
    :param merged: tensors outside the feed-forward blocks that experts changed: the plan's method merges them.
    :param parameters, active: in total, and activated per token.
    :param exact: taking an expert out leaves bit for bit what would have been built without it.
    :param embedder: of routing "embedding": its source and digest.
    :param prefix: of routing "prefix".
    :param servable: written so that other engines than transformers 5 can read this architecture too: a head of its own
        in the place of a tied one, and a shared expert that is not gated by zeros.
    """

    FIELD: ClassVar[str] = "mixture"
    strategy: Literal["moe"] = "moe"
    model_type: str
    architecture: str
    routing: Routing
    top_k: int
    slots: tuple[str, ...]
    layers: int
    hidden: int
    width: int
    merged: int
    parameters: int
    active: int
    exact: bool
    embedder: tuple[str, str] | None = None
    prefix: PlannedPrefix | None = None
    servable: bool = False

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plans without them keep the digest that they had before there were these fields."""
        found: dict[str, Any] = handler(self)
        return {name: value for name, value in found.items() if name not in ("prefix", "servable") or value}

    @property
    def public(self) -> bool:
        """Are the base's own feed-forward blocks one of the experts?"""
        return "base" in self.slots

    @property
    def tuned(self) -> bool:
        """Are routers trained? With a single slot there is nothing to choose, so nothing to train."""
        return self.routing == "trained" and len(self.slots) > 1

    def size(self, base: int) -> int:
        """Parameters of the result, of a base of ``base`` parameters."""
        return self.parameters

    def deciding(self, experts: Sequence[PlannedExpert]) -> dict[str, Any]:
        """As :meth:`MergeDetails.deciding`; the specs stand for samples and router rows."""
        own = self.model_dump(mode="json", exclude={"strategy"})
        return {self.FIELD: own, "spec_digests": [expert.spec_digest for expert in experts]}


class PlannedTeacher(Frozen):
    """A teacher, or the student: one expert, or several of one base as one model.

    :param composed: the strategy that makes one model of several experts, else "".
    """

    name: str
    experts: tuple[ExpertId, ...]
    tokenizer_digest: Digest
    parameters: int
    weight: float = 1.0
    composed: str = ""


class PlannedStage(Frozen):
    """A step of a distillation: ``tokens`` through ``what`` and their estimated time on this machine; bytes kept."""

    stage: Literal["compose", "score", "control", "teach", "measure"]
    what: str
    tokens: int
    seconds: float
    bytes: int = 0


class DistillDetails(Frozen):
    """What a plan of strategy distill does; its method is the loss.

    :param pivot: the student: its experts, or none if it is a base alone.
    :param texts, text_bytes, texts_digest: the training texts.
    :param tokens: training tokens of one run, in the student's tokenizer.
    """

    FIELD: ClassVar[str] = "distillation"
    strategy: Literal["distill"] = "distill"
    pivot: PlannedTeacher
    teachers: tuple[PlannedTeacher, ...]
    settings: Distillation
    texts: int
    text_bytes: int
    texts_digest: Digest
    tokens: int
    stages: tuple[PlannedStage, ...] = ()

    def size(self, base: int) -> int:
        """Parameters of the result, of a base of ``base`` parameters."""
        return base

    def deciding(self, experts: Sequence[PlannedExpert]) -> dict[str, Any]:
        """As :meth:`MergeDetails.deciding`; what the steps take on this machine is not part of it."""
        return {self.FIELD: self.model_dump(mode="json", exclude={"strategy", "stages"})}


class EmbedderPin(Frozen):
    """A sentence-embedding model: its source, and the digest of its folder."""

    source: SourceUri
    digest: Digest


class RouteDetails(Frozen):
    """What a plan of strategy route has.

    :param fallback: the base that answers what is nearer to general text than to any expert; None: they share none.
    :param ensemble: are all models also run together on every text, and their next-token probabilities averaged?
    :param ensemble_weights: of the average: the same for all, or by each model's likelihood of the text before.
    """

    FIELD: ClassVar[str] = ""
    strategy: Literal["route"] = "route"
    embedder: EmbedderPin
    fallback: BaseRef | None
    ensemble: bool
    ensemble_weights: Literal["uniform", "posterior"] = "uniform"

    def size(self, base: int) -> int:
        """Parameters of the result, of a base of ``base`` parameters."""
        return 0

    def deciding(self, experts: Sequence[PlannedExpert]) -> dict[str, Any]:
        """As :meth:`MergeDetails.deciding`: a route makes no weights."""
        return {}


class PluginDetails(Frozen):
    """What a plan of a plugin's strategy has: any JSON values; all of them decide its weights."""

    FIELD: ClassVar[str] = ""
    strategy: str
    values: dict[str, JsonValue] = Field(default_factory=dict)

    def size(self, base: int) -> int:
        """Parameters of the result, of a base of ``base`` parameters."""
        return base

    def deciding(self, experts: Sequence[PlannedExpert]) -> dict[str, Any]:
        """As :meth:`MergeDetails.deciding`."""
        return {"details": self.values}


_BUILT_IN = (MergeDetails, MoeDetails, DistillDetails, RouteDetails)
_TAGS = {variant.model_fields["strategy"].default: variant for variant in _BUILT_IN}


def _tag(value: Any) -> str:
    name = value.get("strategy") if isinstance(value, dict) else getattr(value, "strategy", None)
    return name if isinstance(name, str) and name in _TAGS else "plugin"


Details = Annotated[
    Annotated[MergeDetails, Tag("merge")]
    | Annotated[MoeDetails, Tag("moe")]
    | Annotated[DistillDetails, Tag("distill")]
    | Annotated[RouteDetails, Tag("route")]
    | Annotated[PluginDetails, Tag("plugin")],
    Discriminator(_tag),
]


def check_tag(strategy: str, details: Frozen) -> None:
    """:raises ValueError: the details are another strategy's."""
    if (own := getattr(details, "strategy", None)) != strategy:
        raise ValueError(f"a plan of strategy {strategy} has the details of {own}")


def from_version_1(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan's JSON of before version 2, which had one optional field a strategy, as it is written today."""
    found = {key: value for key, value in plan.items() if key not in _FIELDS}
    own: Any = next((plan[field] for field in _FIELDS if plan.get(field) is not None), {})
    if isinstance(own, Frozen):
        own = own.model_dump()
    if not isinstance(own, dict):
        raise ValueError("what a strategy has of its own is not a table")
    return found | {"version": 2, "details": {**own, "strategy": plan.get("strategy")}}


def to_version_1(plan: dict[str, Any]) -> dict[str, Any]:
    """The canonical form of a plan's JSON, which digests are of: that of version 1, so that they hold as they did.

    A plan of a strategy that version 1 did not have stays as it is.
    """
    name = plan["details"]["strategy"]
    if name not in _LOCKED:
        return plan
    own = {key: value for key, value in plan["details"].items() if key != "strategy"}
    found = {key: value for key, value in plan.items() if key != "details"}
    found["cost"] = {key: value for key, value in plan["cost"].items() if key != "ensemble_tokens"}
    fields = {field: own if field == _TAGS[name].FIELD else None for field in _FIELDS}
    return found | {"version": 1} | fields


#: The strategies that version 1 had plans of, and the fields that held what was theirs.
_LOCKED = {name for name, variant in _TAGS.items() if variant is not RouteDetails}
_FIELDS = tuple(variant.FIELD for variant in _BUILT_IN if variant.FIELD)

"""What the Routes answer with and take; OpenAPI describes them from here."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, computed_field

Finite = Annotated[float, Field(allow_inf_nan=False)]
#: (numerator, denominator): bits and bytes of UTF-8, or right answers and 1.
Figure = tuple[Finite, Annotated[float, Field(gt=0, allow_inf_nan=False)]]

#: Members of what is said beside the figures of an evaluation.
CONTEXT = 200


class Taken(BaseModel):
    """What clients send: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid")


class CardBase(BaseModel):
    """What an expert was trained from. ``digest``: of the weights; equal means one lineage."""

    name: str | None
    digest: str


class Card(BaseModel):
    """One expert in a list. ``size``: bytes of the wheel; ``key``: fingerprint of the key that signed it."""

    id: str
    version: str
    project: str
    title: str
    summary: str
    publisher: str
    domains: list[str]
    languages: list[str]
    license: str
    base: CardBase
    architecture: str
    parameters: int
    relation: str
    size: int
    released: datetime.datetime
    signed: bool
    key: str | None
    yanked: bool
    code: bool | None = Field(
        None, description="does its wheel hold anything that Python could run? null: not known; clients look themselves"
    )
    score: float | None = Field(None, description="sum of reciprocal ranks; only where there was a query")

    @computed_field(description="the former name of license", json_schema_extra={"deprecated": True}, repr=False)  # type: ignore[prop-decorator]
    @property
    def licence(self) -> str:
        return self.license


class Cards(BaseModel):
    """One page of ``total``. ``meaning``: was it searched by meaning too? If not, ``note`` says why."""

    total: int
    items: list[Card]
    meaning: bool = False
    note: str | None = None


class Version(BaseModel):
    """``yanked``: why, or null."""

    version: str
    released: datetime.datetime
    yanked: str | None
    signed: bool


class File(BaseModel):
    """The wheel."""

    filename: str
    url: str
    sha256: str
    size: int
    requires_python: str | None


class Signature(BaseModel):
    """See ``cogen.trust``. ``revoked``: when the publisher took the key back, or null."""

    key: str
    statement: dict[str, Any]
    bundle: dict[str, Any]
    revoked: datetime.datetime | None


class Claimed(BaseModel):
    """What the publisher says in the manifest; nobody else measured it."""

    suite: str
    title: str
    metric: str
    split: Literal["test"] = "test"
    value: float
    documents: int
    date: str
    harness: str

    @computed_field(description="the former name of split", json_schema_extra={"deprecated": True}, repr=False)  # type: ignore[prop-decorator]
    @property
    def part(self) -> str:
        return self.split


class Measured(BaseModel):
    """What somebody with a token measured. ``own``: by the expert's publisher itself."""

    id: int
    expert: str
    version: str
    suite: str
    metric: str
    split: Literal["dev", "test"]
    value: float
    low: float | None
    high: float | None
    documents: int
    promised: int = Field(description="documents that this split of the suite has")
    harness: str
    by: str = Field(description="the publisher who measured")
    own: bool
    created: datetime.datetime
    evidence: str = Field(description="hex SHA-256 of /api/v1/evaluations/{id}/evidence")

    @computed_field(description="the former name of split", json_schema_extra={"deprecated": True}, repr=False)  # type: ignore[prop-decorator]
    @property
    def part(self) -> str:
        return self.split


class PublisherFigure(BaseModel):
    """A figure of a private suite: measured at the publisher's, not reproducible by others.

    ``source``: "manifest" (of the base or the expert, by ``name``), or "signed" figures of the model with the weights
    ``model``, such as a composite.
    """

    id: int | None = None
    expert: str
    version: str | None = None
    suite: str
    title: str
    metric: str
    split: Literal["dev", "test"]
    name: str
    model: str | None = None
    value: float
    low: float
    high: float
    documents: int
    bytes: int
    text_digest: str
    date: str
    harness: str
    by: str | None = Field(None, description="the publisher whose key signed")
    source: Literal["manifest", "signed"]
    measured_at: Literal["publisher"] = "publisher"
    evidence: str | None = Field(None, description="hex SHA-256 of /api/v1/evaluations/{id}/evidence")
    key: str | None = Field(None, description="fingerprint of the key that signed")
    key_revoked: datetime.datetime | None = Field(None, description="when that key was revoked: do not rely on it")


class Evaluations(BaseModel):
    """Claims and measurements, never mixed; ``private``: what nobody but the publisher can measure."""

    claims: list[Claimed]
    measured: list[Measured]
    private: list[PublisherFigure] = Field(default_factory=list)


class Use(BaseModel):
    """A composite that was made from this expert. ``exact``: from this very version."""

    publisher: str
    name: str
    version: int
    title: str
    exact: bool


class Detail(Card):
    """Everything about one version of an expert."""

    spec: dict[str, Any]
    spec_digest: str
    versions: list[Version]
    file: File
    signature: Signature | None
    evaluations: Evaluations
    composites: list[Use]


class IndexShard(BaseModel):
    """``experts``: how many are in it."""

    name: str
    sha256: str
    size: int
    experts: int


class StaticIndex(BaseModel):
    """The static index, which names its shards."""

    schema_: int = Field(alias="schema", serialization_alias="schema")
    title: str
    total: int
    shards: list[IndexShard]


def _few(value: Any) -> Any:
    """Counted before its members are looked at: each of them can be wrong in five ways."""
    if isinstance(value, dict) and len(value) > CONTEXT:
        raise ValueError(f"it has more than {CONTEXT} members")
    return value


class Evidence(Taken):
    """The figures of single documents, in the order of the suite's file."""

    per_document: Annotated[list[Figure], FailFast()] = Field(min_length=1)
    #: What may help to measure again: the result's key, digest of the documents, versions of software.
    context: Annotated[dict[str, str | int | float | bool | None], BeforeValidator(_few)] = Field(
        default_factory=dict, max_length=CONTEXT
    )


class NewEvaluation(Taken):
    """A measurement of this version. ``split`` may be sent under its former name ``part``."""

    suite: str
    metric: str
    split: Literal["dev", "test"] = Field(validation_alias=AliasChoices("split", "part"))
    value: Finite
    low: Finite | None = None
    high: Finite | None = None
    documents: int = Field(gt=0)
    harness: str = Field(min_length=1, max_length=300)
    evidence: Evidence


class PublicKey(BaseModel):
    """A key that releases are signed with; or an identity of Sigstore, then ``pem`` is ``{"identity", "issuer"}``."""

    fingerprint: str
    pem: str
    created: datetime.datetime
    revoked: datetime.datetime | None


class Agreement(Taken):
    """See :func:`cogen.trust.keys.prove_succession`; ``fingerprint``: of a key that the publisher has."""

    fingerprint: str = Field(max_length=80)
    proof: str = Field(max_length=65536)


class NewKey(Taken):
    """``pem``: a public key, or an identity of Sigstore. ``proof``: see :func:`cogen.trust.keys.proven`.

    ``by``: a publisher that has a key needs its signature for another one; a token alone adds none.
    """

    pem: str = Field(max_length=4096)
    proof: str = Field(max_length=65536)
    by: Agreement | None = None


class PublisherDetail(BaseModel):
    """A team, its keys and its experts."""

    name: str
    title: str
    created: datetime.datetime
    keys: list[PublicKey]
    projects: list[str] = Field(default_factory=list, description="all that have a release")
    total: int
    experts: list[Card] = Field(description="the newest 100")


class Who(BaseModel):
    """Who a token belongs to, and what it may do."""

    name: str
    title: str
    scopes: list[str]


class CompositeExpert(BaseModel):
    """An expert of a composite. ``here``: this registry shows the very same manifest in this version.

    ``checked``: wheel, weights, publisher and key of the lock, too, are those of that signed release. Where it is false
    all of this is what the composite's author claims.
    """

    id: str
    version: str
    spec_digest: str
    weights_digest: str
    publisher: str
    here: bool
    checked: bool = False


class CompositeCard(BaseModel):
    """A composite in a list."""

    publisher: str
    name: str
    version: int
    title: str
    strategy: str
    method: str
    created: datetime.datetime
    experts: list[CompositeExpert]


class Composites(BaseModel):
    total: int
    items: list[CompositeCard]


class CompositeDetail(CompositeCard):
    lock: dict[str, Any]
    card: str
    versions: list[int]
    private: list[PublisherFigure] = Field(
        default_factory=list, description="figures of private suites that experts' publishers measured of this model"
    )


class NewComposite(Taken):
    """``lock``: what stands in the composite's ``cogen.lock``; ``card``: its README.md."""

    name: str = Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", max_length=63)
    title: str = Field(min_length=1, max_length=300, pattern=r"^[^\r\n]+$")
    lock: dict[str, Any]
    card: str = Field("", max_length=1 << 20)


class Deleted(BaseModel):
    """Versions that are gone."""

    deleted: list[int]

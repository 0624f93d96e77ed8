"""The data card: what an expert was trained on, and how. "unknown" must be written, leaving a field out is an error.

Field names follow the Croissant RAI vocabulary where it has a term.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from cogen.spec.base import Digest, Frozen, License, Line, without_none

Unknown = Literal["unknown"]
#: How far the text of a source may go, each including those before it. nothing: neither text nor a figure measured on
#: it. figures: numbers (sizes, private suites, statistics for routing). samples: some training text, for routing and
#: calibration. heldout: held-out text too, as a suite that everybody can measure again.
Leaves = Literal["nothing", "figures", "samples", "heldout"]
#: training: trained on, and held out too where ``leaves`` allows it. suite: held out only.
SourceUse = Literal["training", "suite"]
PersonalData = Literal["none", "removed", "present", "unknown"]
Share = Annotated[float, Field(ge=0, le=1)]


class DataSource(Frozen):
    """One text collection that went in.

    ``bytes`` and ``tokens`` are of the training part after cleaning; ``share`` is of all training tokens.
    """

    name: Line
    uri: Line
    license: License
    license_evidence: Line | Unknown
    revision: Line | Unknown
    archive_digest: Digest | Unknown
    documents: int | Unknown
    bytes: int | Unknown
    tokens: int | Unknown
    share: Share | Unknown
    heldout: bool
    #: Since schema version 2 of the manifest; before, ``heldout`` alone.
    leaves: Leaves | None = None
    personal_data: PersonalData | None = None
    #: "suite": held out only, neither trained on nor shipped as samples. Left out where the source was trained on.
    use: Literal["suite"] | None = None
    #: Bytes of its files' text, code and markup included, and share of them that became documents; what was dropped
    #: and why, one line.
    read_bytes: int | None = None
    kept_share: Share | None = None
    dropped: Line | None = None

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_none(handler(self), "leaves", "personal_data", "use", "read_bytes", "kept_share", "dropped")


class Split(Frozen):
    """How training and held-out text were kept apart."""

    by: Line
    train_documents: int
    dev_documents: int
    test_documents: int
    removed_duplicates: int
    removed_overlapping: int
    #: Mean share of a held-out document's runs of 8 words (12 characters of Chinese) that also stand in the training
    #: text, after removal; "not checked" where the runs can't be seen.
    test_8gram_overlap: Share | Literal["not checked"]


class Measured(Frozen):
    """Bits per byte on the held-out text before and after training."""

    part: Literal["dev", "test"]
    documents: int
    bytes: int
    before: float
    after: float


class Audit(Frozen):
    """What the weights give away of the training text, measured by `cogen audit` after training.

    ``canary_exposure``: bits, by rank among all candidates of the same form (Carlini et al. 2019, arXiv:1802.08232);
    the greatest of the canaries and the most that their number of candidates can show. ``extraction``: share of
    continuations of training text that greedy decoding reproduces word for word, of the expert and of its base.
    ``membership_auc``: area under the ROC curve of a membership test by loss against the base's (0.5: none told apart),
    with its 95 % interval.
    """

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    verdict: Literal["no leak found", "leaks", "not conclusive"]
    canaries: int
    canary_exposure: float | Unknown
    canary_exposure_most: float | Unknown
    extraction_prefixes: int
    extraction: Share
    extraction_base: Share
    membership_documents: int
    membership_auc: Share | Unknown
    membership_low: Share | Unknown
    membership_high: Share | Unknown
    #: How often the training read each document, on average; "unknown" where a source lets nothing leave.
    passes: float | Unknown
    notes: tuple[Line, ...] = ()


class DifferentialPrivacy(Frozen):
    """Training by DP-SGD: (ε, δ) of one document, with the noise and the clipping norm that gave it.

    Noise and sampling probability follow from the number of documents: where a source lets nothing leave, the card has
    ε as it was asked for and no noise.
    """

    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    noise_multiplier: Annotated[float, Field(gt=0)] | Unknown
    max_grad_norm: float = Field(gt=0)
    accountant: Line


class Training(Frozen):
    """Every hyper-parameter, and what the run took."""

    recipe_digest: Digest
    mode: Literal["full", "lora", "ffn", "anchored"]
    order: Line
    seed: int
    tokens: int
    steps: int
    hyperparameters: dict[str, str | int | float | bool | list[str]]
    hardware: Line
    threads: int
    seconds: float
    software: dict[str, str]
    measured: tuple[Measured, ...]
    privacy: DifferentialPrivacy | None = None

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_none(handler(self), "privacy")


class DataCard(Frozen):
    """Disclosure of the training data, in the order in which a reader asks."""

    sources: Annotated[tuple[DataSource, ...], Field(min_length=1)] | Unknown
    languages: tuple[str, ...] | Unknown
    collected: Line | Unknown
    preprocessing: str
    split: Split | Unknown
    training: Training | Unknown
    synthetic_share: Share | Unknown
    personal_data: PersonalData
    decontaminated_against: str
    biases: str
    limitations: str
    not_for: str
    audit: Audit | None = None

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_none(handler(self), "audit")

"""Evaluation suites: data and a task definition, never code."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cogen.spec.base import Digest, Frozen, License, Line, RelativePath, SourceUri

#: bits_per_byte: rolling likelihood of text. acc: multiple choice by likelihood. exact_match: generation.
Metric = Literal["bits_per_byte", "acc", "exact_match"]
#: Upper limit of a samples file, in bytes.
SAMPLES_LIMIT = 65536
SuiteId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{1,63}$")]


class DataFile(Frozen):
    """JSON Lines inside the plugin's package."""

    path: RelativePath
    digest: Digest
    documents: int = Field(gt=0)
    license: License


class Claim(Frozen):
    """What the publisher measured. Shown beside our own measurement, never trusted."""

    value: float
    documents: int = Field(gt=0)
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    harness: Line


class Suite(Frozen):
    """One lm-evaluation-harness task with its dev and test data pinned."""

    id: SuiteId
    title: Line
    task: RelativePath
    metric: Metric
    dev: DataFile
    test: DataFile
    claim: Claim | None = None


class PrivateFigure(Frozen):
    """Bits per byte, accuracy or exact match of one model on a private suite, with a 95 % interval over documents."""

    value: float
    low: float
    high: float


class PrivateSuite(Frozen):
    """Held-out text that stays at its publisher's: figures alone, measured there, that nobody else can reproduce.

    ``text_digest`` is SHA-256 over a secret salt of 32 bytes and the texts, so that the publisher can show later that
    a figure was measured on the same text, and nobody can test a guess at it. The salt stays with the texts.
    """

    id: SuiteId
    title: Line
    metric: Metric
    split: Literal["dev", "test"] = "test"
    documents: int = Field(gt=0)
    bytes: int = Field(gt=0)
    text_digest: Digest
    measured_at: Literal["publisher"] = "publisher"
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    harness: Line
    #: Of the base and of the expert; an expert without a base has no figure of one.
    base: PrivateFigure | None = None
    expert: PrivateFigure


class StatisticsFile(Frozen):
    """A safetensors file inside the package that holds numbers made of training text."""

    path: RelativePath
    digest: Digest


class Statistics(Frozen):
    """What routing needs, as numbers instead of text; each only where its publisher agreed to that very kind.

    ``token_counts``: tensors ``ids`` (int64, ascending) and ``counts`` (int64), shape (kinds,): how often tokens of the
    expert's tokenizer occur in the training text. Tokens that occur in fewer than ``floor`` documents are left out:
    names above all. ``states``: tensor ``mean``, shape (layers, hidden): the base's mean hidden state before each
    feed-forward block. ``embedding``: tensor ``mean``, shape (dimensions,): mean sentence embedding by ``embedder``.
    """

    token_counts: StatisticsFile | None = None
    states: StatisticsFile | None = None
    embedding: StatisticsFile | None = None
    #: A source URI of the sentence-embedding model that ``embedding`` was made with.
    embedder: SourceUri | None = None
    #: Least number of documents that a token must occur in to be counted.
    floor: int = Field(default=10, ge=2)
    #: Documents that the numbers were made of.
    documents: int = Field(gt=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.token_counts or self.states or self.embedding):
            raise ValueError("statistics name none of token_counts, states and embedding: leave the table out")
        if (self.embedding is None) != (self.embedder is None):
            raise ValueError("`embedding` and `embedder` come together: an embedding means nothing without its model")
        return self


class Samples(Frozen):
    """Redistributable text from the *training* part, for routing and calibration; at most :data:`SAMPLES_LIMIT`.

    JSON Lines with a field ``text``. Where the text may not leave, ``embedding`` is a safetensors file
    with its mean embedding in place of the text.
    """

    path: RelativePath | None = None
    embedding: RelativePath | None = None
    digest: Digest
    license: License

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.embedding is None):
            raise ValueError("samples need either `path` or `embedding`")
        return self

"""Evaluation suites: data and a task definition, never code."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cogen.spec.base import Digest, Frozen, License, Line, RelativePath

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

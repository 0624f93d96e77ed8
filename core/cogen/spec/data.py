"""The data card: what an expert was trained on, and how. "unknown" must be written, leaving a field out is an error.

Field names follow the Croissant RAI vocabulary where it has a term.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cogen.spec.base import Digest, Frozen, License, Line

Unknown = Literal["unknown"]
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


class Split(Frozen):
    """How training and held-out text were kept apart."""

    by: Line
    train_documents: int
    dev_documents: int
    test_documents: int
    removed_duplicates: int
    removed_overlapping: int
    #: Mean share of a held-out document's word 8-grams that also stand in the training text, after removal.
    test_8gram_overlap: Share


class Measured(Frozen):
    """Bits per byte on the held-out text before and after training."""

    part: Literal["dev", "test"]
    documents: int
    bytes: int
    before: float
    after: float


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


class DataCard(Frozen):
    """Disclosure of the training data, in the order in which a reader asks."""

    sources: Annotated[tuple[DataSource, ...], Field(min_length=1)] | Unknown
    languages: tuple[str, ...] | Unknown
    collected: Line | Unknown
    preprocessing: str
    split: Split | Unknown
    training: Training | Unknown
    synthetic_share: Share | Unknown
    personal_data: Literal["none", "removed", "present", "unknown"]
    decontaminated_against: str
    biases: str
    limitations: str
    not_for: str

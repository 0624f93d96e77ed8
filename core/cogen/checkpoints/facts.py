"""What can be computed of weights on this disk, and where a manifest says something else.

One rule for `cogen check`, `cogen publish` and the registry's admission, so that nothing is released that nobody can
open. Headers and bytes are read; neither torch nor numpy is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.finite import first_not_finite
from cogen.checkpoints.json_files import json_object
from cogen.checkpoints.magnitude import first_too_large
from cogen.checkpoints.quantized import model_tensors
from cogen.checkpoints.safetensors_file import TensorInfo, byte_blocks, read_folder
from cogen.errors import CogenError, SourceError
from cogen.spec.model import ModelSpec, WeightsRef

#: A component of a tensor's name that stands for a feed-forward block, in the architectures of transformers.
_FEED_FORWARD = re.compile(
    r"\.(mlp|ffn|feed_forward|block_sparse_moe|moe|experts|DenseReluDense|fc1|fc2|fc_in|fc_out|c_fc|shared_mlp)\."
)
#: Names of the length of the context in a configuration, in the order in which transformers prefers them.
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
_DTYPES = ("float32", "float16", "bfloat16")
#: Hint where :func:`too_large` found something.
TOO_LARGE = "train again with a lower learning rate or lora_alpha"


@dataclass(frozen=True)
class WeightFacts:
    """Of one folder of weights.

    ``relation``: of an adapter, "ffn" if it changes feed-forward layers alone, else "adapter"; ``None`` for a whole
    model, whose tensors do not say where they came from. ``dtype``: of most elements. ``architecture`` and
    ``context_length``: of config.json, which adapters do not have. ``base_name``: what an adapter says of its base.
    """

    format: Literal["safetensors", "peft"]
    dtype: str
    parameters: int
    relation: Literal["adapter", "ffn"] | None
    architecture: str | None
    context_length: int | None
    base_name: str | None
    tensors: dict[str, TensorInfo]

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())


@dataclass(frozen=True)
class Mismatch:
    """A field of the manifest's ``[model]`` that says something else than the weights. ``found``: ``None`` if nothing
    that could be written there would be right."""

    field: str
    promised: Any
    found: Any
    message: str
    hint: str


def facts_of(folder: Path) -> WeightFacts:
    """Read the headers of a folder of safetensors: a whole model, or a PEFT adapter.

    :raises SourceError: it holds no whole weights. :raises UnsafeError: pickles.
    :raises CompatibilityError: an adapter of a kind that cannot be applied exactly.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder of weights", hint="name a folder with *.safetensors in it")
    peft = (folder / "adapter_config.json").is_file()
    tensors = read_folder(folder) if peft else model_tensors(folder)
    elements: Counter[str] = Counter()
    for info in tensors.values():
        elements[info.dtype] += info.numel
    if not elements.total():
        raise SourceError(f"the weights in {folder.name} are empty", hint="save the model again")
    # Of equally many, the first by name: the answer must not depend on the order of a file.
    dtype = min(elements, key=lambda name: (-elements[name], name))
    if peft:
        read_adapter(folder)
        named = json_object(folder / "adapter_config.json").get("base_model_name_or_path")
        base_name = named if isinstance(named, str) and named else None
        return WeightFacts("peft", dtype, elements.total(), relation_of(tensors), None, None, base_name, tensors)
    config = json_object(folder / "config.json")
    architecture, context = config_facts(config)
    return WeightFacts("safetensors", dtype, elements.total(), None, architecture, context, None, tensors)


def config_facts(config: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """(class in transformers, tokens of context) of a config.json; ``None`` for what it does not say."""
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
    nested = config.get("text_config")
    places = [config, nested] if isinstance(nested, Mapping) else [config]
    for place in places:
        for name in _CONTEXT:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return architecture, value
    return architecture, None


def relation_of(tensors: Mapping[str, TensorInfo]) -> Literal["adapter", "ffn"]:
    """Of an adapter, by the names of its tensors."""
    return "ffn" if all(is_feed_forward(name) for name in tensors) else "adapter"


def is_feed_forward(name: str) -> bool:
    """Whether a tensor belongs to a feed-forward block: ``model.layers.0.mlp.up_proj.weight``."""
    return _FEED_FORWARD.search(f".{name}.") is not None and "attn" not in name and "attention" not in name


def digest_of(tensors: Mapping[str, TensorInfo]) -> str:
    """As :func:`cogen.checkpoints.digests.weights_digest`, reading a block at a time.

    :raises SourceError: a file ended early.
    """
    digest = hashlib.sha256()
    for name, dtype, shape in sorted((info.name, info.dtype, info.shape) for info in tensors.values()):
        digest.update(json.dumps([name, dtype, list(shape)], separators=(",", ":")).encode() + b"\n")
        for block in byte_blocks(tensors[name]):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def compare(ref: WeightsRef, folder: Path, *, digest: bool = True) -> Iterator[Mismatch]:
    """Where the manifest's words on weights and the weights themselves disagree; nothing if all is right.

    :param ref: of an expert or of a base. :param folder: its weights. :param digest: also read every byte.
    GGUF is not looked into: its tensors exist only after dequantizing.
    """
    if ref.format == "gguf":
        return
    try:
        facts = facts_of(folder)
    except CogenError as error:
        yield Mismatch("source", ref.source, None, f"nobody can open them: {error.message}", error.hint or "")
        return
    if facts.format != ref.format:
        what = "a PEFT adapter" if facts.format == "peft" else "a whole model"
        yield _mismatch("format", ref.format, facts.format, f"these weights are {what}")
        return
    if isinstance(ref, ModelSpec):
        yield from _compare_model(ref, facts)
    elif facts.format == "safetensors" and facts.dtype != ref.dtype:
        yield _mismatch("dtype", ref.dtype, facts.dtype, f"the weights are {facts.dtype}")
    if digest and (text := too_large(folder, facts, *_held_in(ref))) is not None:
        yield Mismatch("source", ref.source, None, f"nobody can use them: {text}", TOO_LARGE)
    if digest and (found := digest_of(facts.tensors)) != ref.weights_digest:
        yield _mismatch("weights_digest", ref.weights_digest, found, f"the weights digest is {found}")


def _held_in(ref: WeightsRef) -> Iterator[str]:
    """Types that a model with these weights is held in: its own and its base's."""
    yield ref.dtype
    if isinstance(ref, ModelSpec) and ref.base is not None:
        yield ref.base.dtype


def too_large(folder: Path, facts: WeightFacts, *dtypes: str) -> str | None:
    """Why nobody can use an adapter that is finite; ``None``: its changes can be held.

    NaN and infinity, which callers name by their tensor, are not meant.

    :param dtypes: of the model that it becomes a part of; the narrowest range counts.
    """
    dtype = "float16" if "float16" in dtypes else "float32"
    if facts.format != "peft" or first_not_finite(facts.tensors) is not None:
        return None
    name = first_too_large(read_adapter(folder), dtype)
    return None if name is None else f"the change of {name} may be beyond what {dtype} can hold"


def first_mismatch(ref: WeightsRef, folder: Path) -> Mismatch | None:
    """The first of :func:`compare`."""
    return next(compare(ref, folder), None)


def _compare_model(model: ModelSpec, facts: WeightFacts) -> Iterator[Mismatch]:
    if model.relation in ("ffn", "anchored") and facts.relation == "adapter":
        name = next(name for name in sorted(facts.tensors) if not is_feed_forward(name))
        text = f"the adapter also changes {layer_of(name)}, which is not a feed-forward layer"
        found = "adapter" if model.relation == "ffn" else None
        yield _mismatch("relation", model.relation, found, text)
    if model.parameters != facts.parameters:
        text = f"the weights hold {facts.parameters:,} parameters"
        yield _mismatch("parameters", model.parameters, facts.parameters, text)
    # The factors of an adapter may be stored narrower than the model that they become part of.
    allowed = {facts.dtype, model.base.dtype} if facts.format == "peft" and model.base else {facts.dtype}
    if model.dtype not in allowed:
        right = facts.dtype if facts.dtype in _DTYPES else None
        yield _mismatch("dtype", model.dtype, right, f"the weights are {facts.dtype}")
    yield from compare_config(model, facts.architecture, facts.context_length)


def compare_config(model: ModelSpec, architecture: str | None, context: int | None) -> Iterator[Mismatch]:
    """Against the config.json of the model itself, or of an adapter's base; ``None``: it does not say."""
    if architecture is not None and model.architecture != architecture:
        yield _mismatch("architecture", model.architecture, architecture, f"config.json names {architecture}")
    if context is not None and model.context_length > context:
        text = f"config.json allows {context:,} tokens"
        yield _mismatch("context_length", model.context_length, context, text)


def _mismatch(field: str, promised: Any, found: Any, message: str) -> Mismatch:
    shown = f"{promised:,}" if isinstance(promised, int) else promised
    hint = f"correct `{field}` in expert.toml, or let `cogen check NAME --fix` do it"
    return Mismatch(field, promised, found, f"{message}; the manifest says {field} = {shown}", hint)


def layer_of(name: str) -> str:
    """``base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`` is model.layers.0.self_attn.q_proj."""
    return re.sub(r"\.lora_\w+.*$|\.weight$", "", name.removeprefix("base_model.model."))

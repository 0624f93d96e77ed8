"""From a :class:`Checkpoint` to a model that runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.gguf import quiet_transformers
from cogen.checkpoints.model import Checkpoint, accumulator
from cogen.checkpoints.quantized import CONFIG_KEYS
from cogen.errors import CompatibilityError, SourceError, UnsafeError

if TYPE_CHECKING:
    import torch

    from cogen.host import Host
    from cogen.spec.expert import ExpertSpec


def load_model(checkpoint: Checkpoint, dtype: str) -> Any:
    """A ``transformers`` causal language model in eval mode, in ``dtype`` ("float32", "bfloat16").

    An adapter is added to the weights, rounded as the published dtype: what is evaluated is
    what a merge of this expert alone would write.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            kind: Any = AutoModelForCausalLM
            source: Path | None = checkpoint.folder
            options: dict[str, Any] = {"trust_remote_code": False}
            if checkpoint.quantized:
                kind, source, options = _dequantized(checkpoint)
            loaded: Any = kind.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SourceError(
            f"{checkpoint.folder.name} cannot be loaded: {str(error).splitlines()[0]}",
            hint="is it a causal language model of an architecture that this transformers has?",
        ) from error
    model, info = loaded
    # transformers would fill what is missing with random numbers and only warn.
    if missing := sorted(info["missing_keys"]):
        raise SourceError(
            f"{checkpoint.folder.name} lacks the tensor {missing[0]}", hint="the model is incomplete: fetch it again"
        )
    if checkpoint.adapter is not None:
        assign(model, {name: applied(checkpoint, name) for name in sorted(checkpoint.adapter.changed)})
    return model.eval()


def _dequantized(checkpoint: Checkpoint) -> tuple[Any, None, dict[str, Any]]:
    """Class, no folder, and options: the weights as CoGen reads them, with a configuration that calls them plain.

    transformers would dequantize FP8 by itself where there is no GPU, and compute with the codes where there is one.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, GenerationConfig

    plain = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False, local_files_only=True)
    for config in (plain, getattr(plain, "text_config", plain)):
        for key in CONFIG_KEYS:
            if hasattr(config, key):
                delattr(config, key)
    options: dict[str, Any] = {"config": plain}
    if (checkpoint.folder / "generation_config.json").is_file():
        options["generation_config"] = GenerationConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    base = dataclasses.replace(checkpoint, adapter=None)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(plain)]
    return kind, None, options | {"state_dict": {name: base.read(name) for name in base.names()}}


def load_expert(host: Host, spec: ExpertSpec, checkpoint: Checkpoint, dtype: str) -> Any:
    """An expert's model, by the hook ``cogen_load_model`` of a plugin that has a way of its own, else by ours."""
    loaded = host.hooks.first("cogen_load_model", spec=spec, device="cpu", dtype=dtype)
    return load_model(checkpoint, dtype) if loaded is None else loaded


def load_expert_tokenizer(host: Host, spec: ExpertSpec, checkpoint: Checkpoint) -> Any:
    """An expert's tokenizer, by a plugin's hook ``cogen_load_tokenizer`` or by ours."""
    loaded = host.hooks.first("cogen_load_tokenizer", spec=spec)
    return load_tokenizer(checkpoint.folder) if loaded is None else loaded


def own_loaders(host: Host) -> list[str]:
    """Distributions that may load a model in their own way: part of what a figure depends on."""
    hooks = host.hooks
    return [f"{p.distribution} {p.version}" for p in hooks.loaded if "cogen_load_model" in hooks.implemented(p)]


def applied(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """One tensor of an adapted checkpoint, rounded once from the accumulator to the stored dtype."""
    import torch

    stored = getattr(torch, checkpoint.tensors[name].dtype)
    return checkpoint.read(name, accumulator(stored)).to(stored)


def assign(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Copy tensors into a model in place; names as in the checkpoint."""
    import torch

    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name not in parameters:
                raise CompatibilityError(
                    f"{type(model).__name__} has no parameter {name}",
                    hint="transformers renames the tensors of this architecture on loading; it cannot be merged yet",
                )
            parameters[name].copy_(tensor)


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a checkpoint folder."""
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except ImportError as error:  # of a reader of tokenizer.model
        missing = str(error).strip().splitlines()[0]
        raise SourceError(
            f"the tokenizer of {folder.name} needs a library that is not installed: {missing}",
            hint='pip install "cogen-core[tokenizers]"',
        ) from error
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise UnsafeError(
                f"the tokenizer of {folder.name} asks for remote code (auto_map in tokenizer_config.json)",
                hint="CoGen never runs code that comes with weights; use a model with a plain tokenizer.json",
            ) from error
        raise SourceError(
            f"{folder.name} holds no tokenizer: {str(error).splitlines()[0]}",
            hint="a model folder needs tokenizer.json",
        ) from error

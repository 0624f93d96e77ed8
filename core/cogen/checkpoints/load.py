"""From a :class:`Checkpoint` to a model that runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen import devices
from cogen.checkpoints.foreign import guarded_model, guarded_tokenizer
from cogen.checkpoints.gguf import quiet_transformers
from cogen.checkpoints.model import Checkpoint, accumulator
from cogen.checkpoints.quantized import CONFIG_KEYS
from cogen.errors import CompatibilityError, PluginError, SourceError, UnsafeError
from cogen.untrusted.border import border

if TYPE_CHECKING:
    import torch

    from cogen.host import Host
    from cogen.spec.expert import ExpertSpec


def load_model(
    checkpoint: Checkpoint, dtype: str, owner: str = "", *, device: str | None = None, deciding: bool = False
) -> Any:
    """A ``transformers`` causal language model in eval mode, in ``dtype`` ("float32", "bfloat16").

    :param device: where it runs; default: where :func:`cogen.devices.device` says.
    :param deciding: see there.

    An adapter is added to the weights, rounded as the published dtype: what is evaluated is
    what a merge of this expert alone would write.

    :param owner: id of the expert, for errors.
    :raises SourceError: transformers cannot load it, or a tensor is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM

    place = device or devices.device(deciding=deciding)  # an unknown one is an error before anything is read
    devices.settle_threads()
    name = named(checkpoint.folder, owner)
    with (
        border(
            f"{name} cannot be loaded",
            hint="is it a causal language model of an architecture that this transformers has?",
        ),
        quiet_transformers(),
    ):
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
    model, info = loaded
    # transformers would fill what is missing with random numbers and only warn.
    if missing := sorted(info["missing_keys"]):
        raise SourceError(f"{name} lacks the tensor {missing[0]}", hint="the model is incomplete: fetch it again")
    if (
        checkpoint.quantized
    ):  # as transformers says where it read a folder by itself; peft warns of a model from nowhere
        model.name_or_path = model.config.name_or_path = str(checkpoint.folder)
    if checkpoint.adapter is not None:
        assign(model, {name: applied(checkpoint, name) for name in sorted(checkpoint.adapter.changed)})
    return devices.place(model.eval(), place)


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


def load_expert(host: Host, spec: ExpertSpec, checkpoint: Checkpoint, dtype: str, *, deciding: bool = False) -> Any:
    """An expert's model, by the hook ``cogen_load_model`` of a plugin that has a way of its own, else by ours.

    :param deciding: see :func:`cogen.devices.device`.
    """
    place = devices.device(deciding=deciding)
    found = host.hooks.first_of("cogen_load_model", spec=spec, device=place, dtype=dtype)
    if found is None:
        return load_model(checkpoint, dtype, spec.id, device=place)
    plugin, loaded = found
    if not callable(loaded) or not hasattr(loaded, "config"):
        raise PluginError(
            plugin.distribution,
            f"{plugin.distribution}: cogen_load_model gave no model for {spec.id}: a {type(loaded).__name__}",
            hint="it returns a torch.nn.Module with the forward pass of a transformers causal language model, or None",
        )
    return guarded_model(loaded, plugin.distribution, spec.id)


def load_expert_tokenizer(host: Host, spec: ExpertSpec, checkpoint: Checkpoint) -> Any:
    """An expert's tokenizer, by a plugin's hook ``cogen_load_tokenizer`` or by ours."""
    found = host.hooks.first_of("cogen_load_tokenizer", spec=spec)
    if found is None:
        return load_tokenizer(checkpoint.folder, spec.id)
    plugin, loaded = found
    if not callable(loaded) or not hasattr(loaded, "decode"):
        raise PluginError(
            plugin.distribution,
            f"{plugin.distribution}: cogen_load_tokenizer gave no tokenizer for {spec.id}: a {type(loaded).__name__}",
            hint="it returns an object with the interface of transformers.PreTrainedTokenizerFast, or None",
        )
    return guarded_tokenizer(loaded, plugin.distribution, spec.id)


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


def load_tokenizer(folder: Path, owner: str = "") -> Any:
    """The fast tokenizer of a checkpoint folder.

    :param owner: id of the expert, for errors.
    :raises SourceError: transformers, or the library of tokenizers below it, cannot read it.
    :raises UnsafeError: it asks for remote code.
    """
    from transformers import AutoTokenizer

    name = named(folder, owner)
    with border(f"the tokenizer of {name} cannot be read", hint="a model folder needs a whole tokenizer.json"):
        try:
            with quiet_transformers():
                return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except ImportError as error:  # of a reader of tokenizer.model
            missing = str(error).strip().splitlines()[0]
            raise SourceError(
                f"the tokenizer of {name} needs a library that is not installed: {missing}",
                hint='pip install "cogen-core[tokenizers]"',
            ) from error
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise UnsafeError(
                f"the tokenizer of {name} asks for remote code (auto_map in tokenizer_config.json)",
                hint="CoGen never runs code that comes with weights; use a model with a plain tokenizer.json",
            ) from error


def named(folder: Path, owner: str) -> str:
    """A model folder as a user knows it: "power (3f2a…)", or the folder alone."""
    return f"{owner} ({folder.name})" if owner else folder.name

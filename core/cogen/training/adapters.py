"""Which weights a training changes: all of them, or low-rank differences of some."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cogen.checkpoints.adapter_config import read_config
from cogen.errors import SourceError, TrainError
from cogen.untrusted.border import border

Mode = Literal["full", "lora", "ffn", "anchored"]
#: Feed-forward projections by the names that transformers' dense architectures use.
FFN_MODULES = (
    "gate_proj",
    "up_proj",
    "down_proj",
    "fc1",
    "fc2",
    "c_fc",
    "dense_h_to_4h",
    "dense_4h_to_h",
    "gate_up_proj",
    "wi",
    "wo",
)


def trainable(model: Any, mode: Mode, rank: int, alpha: int, dropout: float = 0.0) -> Any:
    """The model with only the mode's weights trainable.

    full: everything. lora: LoRA on every linear layer but the head. ffn: LoRA on the feed-forward
    layers alone, everything else frozen — what stacking experts into a sparse model needs. anchored: as ffn;
    :func:`cogen.forge.anchored_block.pair_up` adds the router rows.
    """
    if mode == "full":
        return model.requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    targets: str | list[str] = "all-linear"
    if mode in ("ffn", "anchored"):
        leaves = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
        targets = sorted(leaves & set(FFN_MODULES))
        if not targets:
            raise TrainError(
                f"{type(model).__name__} has no feed-forward layers that mode '{mode}' knows",
                hint="use mode 'lora' for this base",
            )
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    found: Any = get_peft_model(model, config)
    # With every checkpoint peft would write a model card that nobody reads, in more time than a small adapter takes.
    found.create_or_update_model_card = lambda *_, **__: None
    return found


def go_on_from(model: Any, folder: Path, alpha: int) -> None:
    """Give a model with fresh low-rank differences those of ``folder``, a PEFT adapter, in place.

    :param alpha: that of the model's own; factors only mean the same with the same one.
    :raises TrainError: there is none, or it is of other layers, another rank or alpha.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    hint = "`start` is a folder with adapter_config.json, e.g. weights"
    try:
        config = read_config(folder)
    except SourceError as error:
        raise TrainError(f"{folder} cannot be read as an adapter: {error.message}", hint=hint) from error
    with border(f"{folder} cannot be read as an adapter", hint=hint, make=TrainError):
        found = load_file(folder / "adapter_model.safetensors")
    own = get_peft_model_state_dict(model)
    differing = sorted(
        name
        for name in own.keys() | found.keys()
        if name not in own or name not in found or own[name].shape != found[name].shape
    )
    if differing:
        raise TrainError(
            f"the adapter that training starts from is not of this base, mode and rank: {differing[0]}",
            hint=f"it has rank {config.get('r')}; take the mode and rank that it was trained with",
        )
    if config.get("lora_alpha") != alpha:
        raise TrainError(
            f"the adapter that training starts from has alpha {config.get('lora_alpha')}, the recipe {alpha}",
            hint=f"alpha = {config.get('lora_alpha')}",
        )
    set_peft_model_state_dict(model, found)

"""``adapter_config.json`` of a PEFT adapter: read in one place, by a strict model.

Only what CoGen reads is checked for more than its type. Options that it does not know may stand there with numbers,
texts and whatever means "off"; one that is switched on is refused (see :func:`unknown_option`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cogen.checkpoints.json_files import read_object
from cogen.errors import SourceError

#: Ranks and alphas beyond are mistakes: ranks are below a model's width, and alpha / rank is of the order of 1.
_RANK, _ALPHA = 1 << 20, 1e6

_Rank = Annotated[int, Field(ge=0, le=_RANK)]
_Alpha = Annotated[int | float, Field(ge=-_ALPHA, le=_ALPHA)]
_Names = str | list[str] | None


_Flag = bool | None
_Text = str | None


class _Config(BaseModel):
    """Fields of peft's LoraConfig, with its types: no text for a number, no truth value for a number."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    peft_type: _Text = None
    task_type: _Text = None
    base_model_name_or_path: _Text = None
    revision: _Text = None
    bias: _Text = None
    r: _Rank | None = None
    lora_alpha: _Alpha | None = None
    rank_pattern: dict[str, _Rank] | None = None
    alpha_pattern: dict[str, _Alpha] | None = None
    lora_dropout: Annotated[int | float, Field(ge=0, le=1)] | None = None
    use_rslora: _Flag = None
    use_dora: _Flag = None
    lora_bias: _Flag = None
    fan_in_fan_out: _Flag = None
    ensure_weight_tying: _Flag = None
    modules_to_save: list[str] | None = None
    # Regular expressions of peft among them are never run here.
    target_modules: _Names = None
    exclude_modules: _Names = None
    layers_pattern: _Names = None
    layers_to_transform: int | list[int] | None = None
    init_lora_weights: bool | str | None = None
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None


#: What belongs into the fields, for people.
_EXPECTED = {
    **dict.fromkeys(("peft_type", "task_type", "base_model_name_or_path", "revision", "bias"), "a text"),
    "r": f"a whole number from 0 to {_RANK:,}",
    "lora_alpha": f"a number from {-_ALPHA:,.0f} to {_ALPHA:,.0f}",
    "rank_pattern": f"whole numbers from 0 to {_RANK:,} by pattern",
    "alpha_pattern": f"numbers from {-_ALPHA:,.0f} to {_ALPHA:,.0f} by pattern",
    "lora_dropout": "a number from 0 to 1",
    "modules_to_save": "a list of names",
    **dict.fromkeys(("target_modules", "exclude_modules", "layers_pattern"), "a text or a list of names"),
    "layers_to_transform": "a whole number, or a list of them",
    "init_lora_weights": "true, false or a text",
    "trainable_token_indices": "a list of whole numbers, or such lists by module",
}


def read_config(folder: Path) -> dict[str, Any]:
    """``adapter_config.json``.

    :raises SourceError: there is none, it is not a JSON object, or a field of it is not what peft writes there.
    """
    try:
        config = read_object(folder / "adapter_config.json")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder.name} is not a PEFT adapter: adapter_config.json is missing or damaged",
            hint="publish the folder that peft's save_pretrained writes",
        ) from error
    try:
        _Config.model_validate(config)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[0]
        expected = _EXPECTED.get(str(found["loc"][0]), "true or false")
        raise SourceError(
            f"adapter_config.json of {folder.name}: {_place(found['loc'])}: expected {expected}, "
            f"found {json.dumps(found['input'])[:60]}",
            hint="write what peft's save_pretrained writes there, or save the adapter again",
        ) from None
    return config


#: How an adapter was made, saved and run, beside the fields above: none changes what the saved factors compute.
_HARMLESS = frozenset(
    {
        *("auto_mapping", "peft_version", "inference_mode", "runtime_config", "megatron_config", "merge_weights"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config", "unsloth_fixed"),
    }
)


def unknown_option(config: dict[str, Any]) -> str | None:
    """An option that CoGen does not know and that is switched on: ``true``, or a table or list that holds something.

    Numbers and texts are settings of such a switch (``qalora_group_size``), and peft writes them in any case.
    """
    return next((name for name in sorted(config) if _unknown(name) and _is_on(config[name])), None)


def _unknown(name: str) -> bool:
    return name not in _Config.model_fields and name not in _HARMLESS


def _is_on(value: object) -> bool:
    if isinstance(value, dict):
        return any(inner not in (None, False) for inner in value.values())
    return value is True or (isinstance(value, list) and bool(value))


def _place(location: tuple[int | str, ...]) -> str:
    """``rank_pattern.q_proj``, in one line; without pydantic's names of the members of a union."""
    field, *rest = location
    keys = [key for key in rest if key not in ("int", "float", "str", "bool") and "[" not in str(key)]
    return ascii(".".join(map(str, [field, *keys]))[:100])[1:-1]

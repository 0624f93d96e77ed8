"""``adapter_config.json`` of a PEFT adapter: read in one place, by a strict model.

Only what CoGen reads is checked for more than its type; options that it does not know stay as they are.
"""

from __future__ import annotations

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


class _Config(BaseModel):
    """Fields of peft's LoraConfig, with its types: no text for a number, no truth value for a number."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    peft_type: str | None = None
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    r: _Rank | None = None
    lora_alpha: _Alpha | None = None
    rank_pattern: dict[str, _Rank] | None = None
    alpha_pattern: dict[str, _Alpha] | None = None
    lora_dropout: Annotated[int | float, Field(ge=0, le=1)] | None = None
    bias: str | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    lora_bias: bool | None = None
    fan_in_fan_out: bool | None = None
    ensure_weight_tying: bool | None = None
    modules_to_save: list[str] | None = None
    # Regular expressions of peft among them are never run here.
    target_modules: _Names = None
    exclude_modules: _Names = None
    layers_pattern: _Names = None
    layers_to_transform: int | list[int] | None = None
    init_lora_weights: bool | str | None = None
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None


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
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        wrong = f"{_place(found['loc'])}: {found['msg'][:1].lower()}{found['msg'][1:]}"
        raise SourceError(
            f"adapter_config.json of {folder.name}: {wrong}",
            hint="write what peft's save_pretrained writes there, or save the adapter again",
        ) from None
    return config


def _place(location: tuple[int | str, ...]) -> str:
    """``rank_pattern.q_proj``, in one line; without pydantic's names of the members of a union."""
    field, *rest = location
    keys = [key for key in rest if key not in ("int", "float", "str", "bool") and "[" not in str(key)]
    return ascii(".".join(map(str, [field, *keys]))[:100])[1:-1]

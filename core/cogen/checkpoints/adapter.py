"""A PEFT LoRA adapter as weight differences, computed so that every machine gets the same bits."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.safetensors_file import TensorInfo, read_folder, read_tensor
from cogen.errors import CompatibilityError, SourceError

if TYPE_CHECKING:
    import torch

_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
#: Options that change what an adapter does; with any other value the plain product B·A would be wrong.
_PLAIN = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "fan_in_fan_out": False,
    "peft_type": "LORA",
    "use_qalora": False,
    "trainable_token_indices": None,
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "lora_bias": False,
    "target_parameters": None,
    "use_bdlora": None,
    "arrow_config": None,
    "kasa_config": None,
    "monteclora_config": None,
}
#: Initialisations that leave the base's weights alone; PiSSA, OLoRA, LoftQ and CorDA change them.
_PLAIN_INIT = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class LoraAdapter:
    """``pairs[weight name] = (A of shape (r, in), B of shape (out, r), scale)``."""

    folder: Path
    pairs: dict[str, tuple[TensorInfo, TensorInfo, float]]

    def delta(self, name: str, dtype: torch.dtype, first: int = 0, last: int | None = None) -> torch.Tensor:
        """``scale · B·A`` of shape (out, in) in ``dtype``; only the rows [first, last) if they are given.

        Summed rank by rank with separate multiplications and additions: a matrix product may use another
        order or fused operations on another processor or thread count, and the composite's digest would change.
        For bf16 factors the products are exact in float32.
        """
        import torch

        info_a, info_b, scale = self.pairs[name]
        a, b = read_tensor(info_a).to(dtype), read_tensor(info_b).to(dtype)[first:last]
        total = torch.zeros(b.shape[0], a.shape[1], dtype=dtype)
        product = torch.empty_like(total)
        columns = b.T.contiguous()
        for column, row in zip(columns, a, strict=True):
            torch.mul(column[:, None], row[None, :], out=product)
            total += product
        return total.mul_(scale)


def read_adapter(folder: Path) -> LoraAdapter:
    """Open an adapter folder (``adapter_config.json`` and ``adapter_model.safetensors``).

    :raises CompatibilityError: an option (DoRA, biases, saved modules …) that is more than ``W + scale·B·A``.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder.name} is not a PEFT adapter: adapter_config.json is missing or damaged",
            hint="publish the folder that peft's save_pretrained writes",
        ) from error
    odd = [option for option, plain in _PLAIN.items() if config.get(option, plain) not in (plain, None, [], {})]
    if config.get("init_lora_weights", True) not in _PLAIN_INIT:
        odd.append("init_lora_weights")
    if odd:
        raise CompatibilityError(
            f"the adapter in {folder.name} uses {odd[0]}={config[odd[0]]!r}, which is not a plain LoRA difference",
            hint="merge it into its base with peft and publish it as relation 'full'",
        )
    factors: dict[str, dict[str, TensorInfo]] = {}
    for key, info in read_folder(folder).items():
        match = _KEY.fullmatch(key)
        if not match:
            raise CompatibilityError(
                f"the adapter holds a tensor that is not a LoRA factor: {key}", hint="publish plain LoRA weights"
            )
        factors.setdefault(match[1], {})[match[2]] = info
    pairs = {}
    for module, found in factors.items():
        shapes = [info.shape for _, info in sorted(found.items())]
        if set(found) != {"A", "B"} or [*map(len, shapes)] != [2, 2] or shapes[0][0] != shapes[1][1]:
            raise SourceError(
                f"the adapter's factors of {module} do not fit together", hint="publish the adapter again"
            )
        pairs[f"{module}.weight"] = (found["A"], found["B"], _scale(config, module, shapes[0][0]))
    if not pairs:
        raise SourceError(f"the adapter in {folder.name} is empty", hint="publish the adapter again")
    return LoraAdapter(folder, pairs)


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilised LoRA (arXiv:2312.03732), with peft's patterns.

    :param rank: rows of the factor A; the configuration has to say the same.
    """

    def pattern(option: str, default: Any) -> Any:
        for key, value in (config.get(option) or {}).items():
            if re.match(rf"(.*\.)?({key})$", module):
                return value
        return default

    alpha = pattern("alpha_pattern", config.get("lora_alpha"))
    if pattern("rank_pattern", config.get("r")) != rank or not isinstance(alpha, int | float):
        raise SourceError(
            f"the adapter's configuration does not fit its factors of {module}: r or lora_alpha",
            hint="publish the adapter again",
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

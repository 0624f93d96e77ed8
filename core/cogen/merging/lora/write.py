"""Writing a PEFT adapter folder, and any folder, as a whole or not at all."""

from __future__ import annotations

import collections
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.errors import UsageError
from cogen.files import atomic_folder

if TYPE_CHECKING:
    import torch

#: Module name → (A of shape (r, in), B of shape (out, r)); the difference is B·A with no further scale.
Factors = Mapping[str, "tuple[torch.Tensor, torch.Tensor]"]


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """:func:`~cogen.files.atomic_folder` for a folder that the user named: nothing is replaced.

    :raises UsageError: ``path`` is not empty, at the start or at the end.
    """
    _check_empty(path)
    with atomic_folder(path, replace=True) as part:
        yield part
        _check_empty(path)


def _check_empty(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()) or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} exists already", hint="give another folder with -o, or move it away")


def write_adapter(folder: Path, factors: Factors, *, base: str | None, task_type: str | None) -> None:
    """``adapter_config.json`` and ``adapter_model.safetensors``, as peft's ``save_pretrained`` lays them out.

    ``lora_alpha`` is the rank everywhere, so that peft's scale alpha / r is exactly 1. Ranks that differ from the most
    frequent one stand in ``rank_pattern`` and ``alpha_pattern``.

    :param base: what goes into ``base_model_name_or_path``.
    :param task_type: peft's name of the task, such as ``CAUSAL_LM``.
    """
    ranks = {module: a.shape[0] for module, (a, _) in sorted(factors.items())}
    usual = collections.Counter(ranks.values()).most_common(1)[0][0]
    # peft takes the keys as regular expressions for the end of a name: this one fits the module itself and no other.
    pattern = {f"^{re.escape(module)}": rank for module, rank in ranks.items() if rank != usual}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": list(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "inference_mode": True,
    }
    tensors = {
        f"base_model.model.{module}.lora_{letter}.weight": pair[i].contiguous()
        for module, pair in factors.items()
        for i, letter in enumerate("AB")
    }
    write_safetensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

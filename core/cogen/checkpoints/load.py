"""From a :class:`Checkpoint` to a model that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.gguf import quiet_transformers
from cogen.checkpoints.model import Checkpoint, accumulator
from cogen.errors import SourceError

if TYPE_CHECKING:
    import torch


def load_model(checkpoint: Checkpoint, dtype: str) -> Any:
    """A ``transformers`` causal language model in eval mode, in ``dtype`` ("float32", "bfloat16").

    An adapter is added to the weights, rounded as the published dtype: what is evaluated is
    what a merge of this expert alone would write.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            model: Any = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder, dtype=getattr(torch, dtype), trust_remote_code=False, local_files_only=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SourceError(
            f"{checkpoint.folder.name} cannot be loaded: {str(error).splitlines()[0]}",
            hint="is it a causal language model of an architecture that this transformers has?",
        ) from error
    if checkpoint.adapter is not None:
        assign(model, {name: applied(checkpoint, name) for name in checkpoint.adapter.pairs})
    return model.eval()


def applied(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """One tensor of an adapted checkpoint, rounded once from the accumulator to the stored dtype."""
    import torch

    stored = getattr(torch, checkpoint.tensors[name].dtype)
    return checkpoint.read(name, accumulator(stored)).to(stored)


def assign(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Copy tensors into a model in place; names as in the checkpoint."""
    import torch

    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a checkpoint folder."""
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"{folder.name} holds no tokenizer: {str(error).splitlines()[0]}",
            hint="a model folder needs tokenizer.json",
        ) from error

"""A model that another engine runs, with what the evaluation calls of a transformers model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EngineOutput:
    """``logits``: shape (batch, tokens, vocabulary), float32."""

    logits: torch.Tensor


class EngineModel:
    """Subclasses give :meth:`logits` of one sequence; there is no padding and no cache.

    :param config: the configuration of the model that was exported.
    """

    generation_config = None

    def __init__(self, config: Any) -> None:
        import torch

        self.config = config
        self.device = torch.device("cpu")
        #: Of the logits; what the engine computes in is its own affair.
        self.dtype = torch.float32

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Of one sequence, shape (tokens, vocabulary), float32.

        :param ids: shape (tokens,).
        """
        raise NotImplementedError

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> EngineOutput:
        import torch

        return EngineOutput(torch.stack([self.logits(ids) for ids in input_ids.cpu()]))

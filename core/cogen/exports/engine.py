"""A model that another engine runs, with what the evaluation calls of a transformers model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.errors import CogenError, failure
from cogen.exports.tools import ExportError

if TYPE_CHECKING:
    import torch

_HINT = "export it to another format"


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

        try:
            return EngineOutput(torch.stack([self.logits(ids) for ids in input_ids.cpu()]))
        except (CogenError, MemoryError):
            raise
        except Exception as error:  # an engine may raise anything on a model that it cannot run
            raise ExportError(f"the exported model does not run: {failure(error)}", hint=_HINT) from error


def opened(load: Callable[[], Any]) -> Any:
    """``load()``, whatever an engine raises on a file that it cannot load.

    :raises ExportError: it cannot.
    """
    try:
        return load()
    except (CogenError, MemoryError):
        raise
    except Exception as error:  # see EngineModel
        raise ExportError(f"the exported model cannot be loaded: {failure(error)}", hint=_HINT) from error

"""Everything that changes a figure, pinned in one place: two results compare only when these are equal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from cogen.devices import CPU, batch_size, describe, device
from cogen.errors import EvalError

Split = Literal["dev", "test"]
Level = Literal["quick", "full"]

#: Tokens of text a suite may take at the level ``quick``, by split.
QUICK_TOKENS: dict[str, int] = {"test": 1500, "dev": 500}
#: A test split with fewer documents says nothing (``cogen check`` refuses it).
MIN_TEST_DOCUMENTS = 30
#: Raised when a change of our own code changes figures, so that old cached results are not used.
RESULT_FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """lm-eval's defaults, pinned, and the parameters of the intervals."""

    dtype: str
    #: Tokens in a window. lm-eval would take it from the model, so that two models would see different contexts.
    max_length: int = 1024
    #: lm-eval would take the model's own type: in bfloat16 a log-probability has only 8 bits.
    softmax_dtype: str = "float32"
    #: Padding changes bfloat16 figures in the last digits, so no batching on a CPU.
    batch_size: int = 1
    logits_cache: bool = True
    #: Kind and model of the device: a GPU's figures differ from a CPU's in the last digits.
    device: str = CPU
    #: Bootstrap by document.
    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 20240

    def key(self) -> dict[str, Any]:
        """All settings, as they go into the key of a cached result."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("device", CPU)}

    @classmethod
    def here(cls, **settings: Any) -> Settings:
        """These settings where models run now: see :func:`cogen.devices.device`."""
        place = device()
        return cls(**settings, batch_size=batch_size(place), device=describe(place))


def prefix_token_id(tokenizer: Any) -> int:
    """The token that stands before a text: ``<|endoftext|>`` if the tokenizer has it, else bos, else eos.

    :raises EvalError: the tokenizer has none of them.
    """
    vocabulary = tokenizer.get_vocab()
    for found in (vocabulary.get("<|endoftext|>"), tokenizer.bos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    raise EvalError(
        "the tokenizer has no token to put before a text",
        hint="give it a beginning-of-text or an end-of-text token",
    )

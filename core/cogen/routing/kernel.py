"""A kernel over distances, made of rotary position embeddings: which of the tokens before it a token averages over.

A constant query and a constant key give, by rotary embeddings alone, the score ``Σ aᵢ cos(θᵢ d)`` for a token that lies
``d`` back. With nonnegative amplitudes ``aᵢ`` the newest token has the highest score, so ``exp(Σ aᵢ (cos(θᵢ d) - 1))``
is a weight that begins at 1. The amplitudes are fitted such that its logarithm follows ``-F (1 - exp(-d / L))``: memory
of about ``L / F`` tokens at first, and a floor of ``exp(-F)`` for all that is far away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError

if TYPE_CHECKING:
    import numpy as np

#: Natural logarithm of how much less a far token weighs than the newest one, and the memory in tokens; chosen on the
#: dev splits of the reference experts.
DEPTH, MEMORY = 11.0, 25.0
#: The least depth that is accepted where the architecture bounds the amplitudes.
LEAST_DEPTH = 7.0
#: Kinds of rotary embeddings whose frequencies are the same for every length of text.
_FIXED = ("default", "linear", "llama3", "yarn")
#: Distances that are fitted one by one; beyond, equally many for every factor of distance.
_NEAR, _MOST = 2048, 1 << 17
_PENALTY = 0.02
_HINT = "choose another --routing, e.g. hidden"


@dataclass(frozen=True)
class Rotary:
    """Rotary embeddings of a model.

    :param frequencies: θ of each pair of dimensions, radians per token, falling; shape (head_dim / 2,).
    :param scaling: what cosine and sine are multiplied by (yarn), in query and key.
    :param positions: that the model is made for.
    """

    frequencies: np.ndarray
    scaling: float
    positions: int

    @property
    def half(self) -> int:
        """Pairs; dimension ``i`` turns together with ``half + i``."""
        return len(self.frequencies)


def rotary_of(config: Mapping[str, Any]) -> Rotary:
    """
    :param config: every field of a dense model's configuration (``PreTrainedConfig.to_dict``).
    :raises CompatibilityError: it has none, they turn a part of each head, or they depend on the length of the text.
    """
    import numpy as np

    rope = config.get("rope_parameters") or {}
    kind = str(rope.get("rope_type", ""))
    if kind not in _FIXED:
        reason = f"of kind {kind}, which change with the length of the text" if kind else "missing"
        raise CompatibilityError(f"routing prefix: the base's rotary embeddings are {reason}", hint=_HINT)
    if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) not in (None, 1.0):
        raise CompatibilityError(
            "routing prefix: the base's rotary embeddings turn only a part of each head, which has not been verified",
            hint=_HINT,
        )
    width = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    positions = int(config.get("max_position_embeddings") or 0)
    if kind == "default":
        frequencies = float(rope["rope_theta"]) ** (-np.arange(0, width, 2) / width)
        return Rotary(frequencies, 1.0, positions)
    from transformers import CONFIG_MAPPING
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    found, scaling = ROPE_INIT_FUNCTIONS[kind](CONFIG_MAPPING[str(config["model_type"])].from_dict(dict(config)))
    return Rotary(found.double().numpy(), float(scaling), positions)


@dataclass(frozen=True)
class Kernel:
    """``exp(Σ aᵢ (cos(θᵢ d) - 1))``.

    :param amplitudes: of every pair, most of them 0; shape (head_dim / 2,), float64.
    :param depth: what was asked for; see the module.
    """

    rotary: Rotary
    amplitudes: np.ndarray
    depth: float

    def log(self, distances: np.ndarray) -> np.ndarray:
        """Natural logarithm of the weight of a token that lies this far back."""
        import numpy as np

        found: np.ndarray = (np.cos(np.outer(distances, self.rotary.frequencies)) - 1.0) @ self.amplitudes
        return found

    def mass(self, length: int) -> float:
        """Sum of the weights of the newest ``length`` tokens."""
        import numpy as np

        return float(np.exp(self.log(np.arange(length))).sum())


def fit_kernel(rotary: Rotary, depth: float = DEPTH, memory: float = MEMORY) -> Kernel:
    """Nonnegative least squares; every factor of distance counts alike.

    The two slowest pairs stay free: one carries what the prefix token weighs, the other fills up norms. Slow pairs
    could also cancel each other with huge amplitudes, which a small penalty on their sum keeps away: it costs nothing
    in the fit, and rounding errors of 16-bit arithmetic grow with the sum.

    :raises CompatibilityError: these frequencies make no such kernel.
    """
    import numpy as np
    import scipy.optimize

    most = min(max(rotary.positions, _NEAR), _MOST)
    far = np.unique(np.geomspace(_NEAR, most, 2048).astype(np.int64)) if most > _NEAR else np.zeros(0, np.int64)
    distances = np.concatenate([np.arange(_NEAR), far])
    # Near ones stand one by one and get their share of a factor of distance; far ones stand evenly already.
    step = math.log(most / _NEAR) / 2048 if most > _NEAR else 0.0
    weights = np.sqrt(np.concatenate([1.0 / (np.arange(_NEAR) + 8.0), np.full(len(far), step)]))
    wanted = -depth * (1.0 - np.exp(-distances / (depth * memory)))
    free = max(rotary.half - 2, 0)
    turned = np.cos(np.outer(distances, rotary.frequencies[:free])) - 1.0
    matrix = np.vstack([weights[:, None] * turned, np.full((1, free), _PENALTY)])
    amplitudes = np.zeros(rotary.half)
    if free:
        amplitudes[:free], _ = scipy.optimize.nnls(matrix, np.append(weights * wanted, 0.0))
    amplitudes[amplitudes < 1e-4] = 0.0
    found = Kernel(rotary, amplitudes, depth)
    near, all_ = found.mass(round(12 * memory)), found.mass(most)
    if not 0.5 * memory <= near <= 2 * memory or all_ > 3 * memory:
        raise CompatibilityError(
            f"routing prefix: the base's rotary embeddings ({rotary.half} pairs) make no kernel that forgets: "
            f"{near:.0f} tokens weigh where {memory:.0f} were wanted, {all_:.0f} of {most:,}",
            hint=_HINT,
        )
    return found

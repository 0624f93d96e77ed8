"""Which mixture-of-experts architecture takes the place of which dense one, and how it names its tensors.

A dense model fits a mixture when everything but the feed-forward block is the same function of the same tensors. What
decides is transformers' code, read in version 5.23; tests compare the logits of every pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError
from cogen.fusion.compatible import DENSE

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.fusion.details import MoeDetails

#: Projections of a dense feed-forward block: ``down(act(gate(x)) * up(x))``.
PARTS = ("gate_proj", "up_proj", "down_proj")
_FFN = re.compile(r"model\.layers\.(\d+)\.mlp\.(gate_proj|up_proj|down_proj)\.weight")
_HINT = (
    "merge the experts (--strategy merge), keep them separate behind a router (--strategy route), "
    "or distill them into one model (--strategy distill)"
)


@dataclass(frozen=True)
class MoeArchitecture:
    """A mixture architecture.

    :param model_type: as in ``config.json``.
    :param router: name of a layer's router matrix, shape (experts, hidden).
    :param parts: projection of a dense block → name of an expert's tensor.
    :param count: configuration key of the number of experts; ``width``: of the experts' intermediate size.
    :param norm: norm in front of router and experts, whose weights can be folded into the experts; ``None`` where the
        block reads the residual stream itself (OLMo-2) and has its norm behind it, where nothing can be folded.
    :param extra: further configuration.
    :param shared: names and kinds of what a layer has beside router and experts, and must not add anything.
    :param whole_heads: vLLM, mlx-lm and transformers 4 take the width of a head as that of the stream divided by the
        number of heads, whatever ``head_dim`` says.
    :param demanding: llama.cpp and mlx-lm want a head that is not the embedding, and llama.cpp divides by what gates
        the shared expert: see ``servable`` of :class:`~cogen.fusion.details.MoeDetails`.
    """

    model_type: str
    architecture: str
    router: str
    parts: Mapping[str, str]
    count: str
    width: str
    norm: str | None = "model.layers.{layer}.post_attention_layernorm.weight"
    extra: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whole_heads: bool = False
    demanding: bool = False

    def tensor(self, layer: int, slot: int, part: str) -> str:
        """Name of one projection of one expert."""
        return self.parts[part].format(layer=layer, slot=slot)

    def gate(self, layer: int) -> str:
        """Name of a layer's router."""
        return self.router.format(layer=layer)


_QWEN = {part: "model.layers.{layer}.mlp.experts.{slot}." + part + ".weight" for part in PARTS}
_MIXTRAL = {
    part: "model.layers.{layer}.block_sparse_moe.experts.{slot}." + name + ".weight"
    for part, name in zip(PARTS, ("w1", "w3", "w2"), strict=True)
}
#: Columns of the shared expert that Qwen2-MoE cannot do without; its output projection is zero, so it adds nothing.
SHARED_WIDTH = 64

MIXTRAL = MoeArchitecture(
    "mixtral",
    "MixtralForCausalLM",
    "model.layers.{layer}.block_sparse_moe.gate.weight",
    _MIXTRAL,
    "num_local_experts",
    "intermediate_size",
)
QWEN2_MOE = MoeArchitecture(
    "qwen2_moe",
    "Qwen2MoeForCausalLM",
    "model.layers.{layer}.mlp.gate.weight",
    _QWEN,
    "num_experts",
    "moe_intermediate_size",
    extra={
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "qkv_bias": True,
        "shared_expert_intermediate_size": SHARED_WIDTH,
    },
    shared={
        "model.layers.{layer}.mlp.shared_expert.gate_proj.weight": ("shared", "hidden"),
        "model.layers.{layer}.mlp.shared_expert.up_proj.weight": ("shared", "hidden"),
        "model.layers.{layer}.mlp.shared_expert.down_proj.weight": ("hidden", "shared"),
        "model.layers.{layer}.mlp.shared_expert_gate.weight": ("one", "hidden"),
    },
    whole_heads=True,
    demanding=True,
)
QWEN3_MOE = MoeArchitecture(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    "model.layers.{layer}.mlp.gate.weight",
    _QWEN,
    "num_experts",
    "moe_intermediate_size",
    extra={"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
)
FLEX_OLMO = MoeArchitecture(
    "flex_olmo",
    "FlexOlmoForCausalLM",
    "model.layers.{layer}.mlp.gate.weight",
    _QWEN,
    "num_experts",
    "intermediate_size",
    norm=None,
    extra={"norm_topk_prob": True},
)

TARGETS = {
    "llama": MIXTRAL,
    "mistral": MIXTRAL,
    "qwen2": QWEN2_MOE,
    "qwen3": QWEN3_MOE,
    "olmo2": FLEX_OLMO,
}
#: Why not, for families that people will try.
_REASONS = {
    "Gemma": "no mixture in transformers has its norms before and behind the feed-forward block",
    "Phi3": "its gate and up projections are one tensor, and no mixture in transformers has its attention",
    "Phi": "its attention and feed-forward block run side by side, with biases, as in no mixture",
    "GPTNeoX": "its attention and feed-forward block run side by side, as in no mixture",
    "GPT2": "its feed-forward block has no gate, and no mixture has learned positions",
    "Granite": "GraniteMoe scales residuals and logits in its own way, which has not been verified yet",
    "Olmo3": "FlexOlmo has no sliding attention",
}


def check_architecture(name: str, whose: str) -> None:
    """From a manifest alone, before anything is fetched.

    :param name: the manifest's architecture, a class of transformers.
    :raises CompatibilityError: no mixture fits.
    """
    if name not in DENSE:
        reason = next((why for start, why in _REASONS.items() if name.startswith(start)), None)
        raise CompatibilityError(
            f"{whose} is a {name}, which has no mixture architecture"
            + (f": {reason}" if reason else f"; {', '.join(DENSE)} can"),
            hint=_HINT,
        )


def target_of(config: Mapping[str, Any]) -> MoeArchitecture:
    """
    :param config: every field of the base's configuration (``PreTrainedConfig.to_dict``).
    :raises CompatibilityError: no mixture computes what this model does.
    """
    kind = str(config.get("model_type"))
    if kind not in TARGETS:
        raise CompatibilityError(f"transformers has no mixture architecture for model type {kind}", hint=_HINT)
    wrong = [name for name in ("attention_bias", "mlp_bias") if config.get(name) and (kind, name) not in _MAY]
    if wrong:
        raise CompatibilityError(
            f"the base has {wrong[0]}, which {TARGETS[kind].architecture} does not have", hint=_HINT
        )
    if kind in ("qwen2", "qwen3") and config.get("use_sliding_window"):
        raise CompatibilityError(
            f"sliding-window attention has not been verified in {TARGETS[kind].architecture}",
            hint=_HINT,
        )
    return TARGETS[kind]


#: Biases that the mixture has too.
_MAY = {("qwen3", "attention_bias"), ("olmo2", "attention_bias")}
#: Of the dense configuration, not of the mixture's: they change nothing, or are said otherwise.
_OWN = frozenset(
    {
        "model_type",
        "architectures",
        "transformers_version",
        "_name_or_path",
        "intermediate_size",
        "pretraining_tp",
        "mlp_bias",
        "attention_bias",
        "layer_types",
        "use_sliding_window",
        "sliding_window",
        "max_window_layers",
    }
)


def mixture_config(
    config: Mapping[str, Any], target: MoeArchitecture, slots: int, top_k: int, width: int
) -> dict[str, Any]:
    """``config.json`` of the mixture: every field written out, since the two classes have different defaults.

    :param config: every field of the base's configuration.
    :raises CompatibilityError: the mixture's class would read one of them otherwise.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    kind: Callable[..., Any] = CONFIG_MAPPING[target.model_type]
    known = kind().to_dict()
    common = PreTrainedConfig().to_dict()  # what every class has, and nobody sets, would only be noise
    same = {
        name: value
        for name, value in config.items()
        if name in known and name not in _OWN and not (name in common and common[name] == value == known[name])
    }
    # Attention takes it from the configuration wherever it is there, in classes without such a field too.
    if config.get("head_dim") is not None:
        same["head_dim"] = config["head_dim"]
    if "sliding_window" in known:
        same["sliding_window"] = config.get("sliding_window") if config["model_type"] == "mistral" else None
    if "use_sliding_window" in known:
        same |= {"use_sliding_window": False, "sliding_window": None}
    if "attention_bias" in known:
        same["attention_bias"] = bool(config.get("attention_bias"))
    made = {
        "architectures": [target.architecture],
        "model_type": target.model_type,
        **same,
        "intermediate_size": width,
        target.width: width,
        target.count: slots,
        "num_experts_per_tok": top_k,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.0,
        **target.extra,
    }
    read = kind(**made).to_dict()
    odd = sorted(name for name in same if name in read and read[name] != same[name] and same[name] is not None)
    if odd:
        raise CompatibilityError(
            f"{target.architecture} reads {odd[0]} as {read[odd[0]]!r} where the base has {same[odd[0]]!r}", hint=_HINT
        )
    return dict(sorted(made.items()))


def planned_config(config: Mapping[str, Any], planned: MoeDetails) -> dict[str, Any]:
    """As :func:`mixture_config`, of a plan."""
    made = mixture_config(config, target_of(config), len(planned.slots), planned.top_k, planned.width)
    return made | ({"tie_word_embeddings": False} if own_head(config, planned) else {})


def own_head(config: Mapping[str, Any], planned: MoeDetails) -> bool:
    """Whether the mixture has a copy of the embedding as its head, where the base has the embedding itself."""
    return planned.servable and bool(config.get("tie_word_embeddings"))


def full_config(base: Checkpoint) -> dict[str, Any]:
    """Every field of the base's configuration, those that its file leaves out too."""
    from transformers import CONFIG_MAPPING

    kind = str(base.config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise CompatibilityError(f"transformers has no model type {kind!r}", hint="choose experts of another base")
    known: dict[str, Any] = CONFIG_MAPPING[kind].from_dict(base.config).to_dict()
    return known


def ffn_tensor(name: str) -> tuple[int, str] | None:
    """(layer, projection) of a dense model's feed-forward tensor; ``None`` for any other."""
    found = _FFN.fullmatch(name)
    return (int(found[1]), found[2]) if found else None

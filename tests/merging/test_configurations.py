"""Configurations that compute the same from the same weights, and those that do not: what is unknown counts as one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny import llama, logits
from transformers import CONFIG_MAPPING

from cogen.errors import CompatibilityError
from cogen.merging.configurations import COUNTS, check_same_function, differences, token_differences

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
}
#: What another configuration may say, by the model types that know it.
FUNCTION: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"rope_theta": 500000.0}, "rope_parameters.rope_theta"),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope_parameters.factor"),
    ("llama", {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}}, "rope_type"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act"),
    ("llama", {"num_hidden_layers": 1}, "num_hidden_layers"),
    ("gpt2", {"num_hidden_layers": 1}, "n_layer"),
    ("mixtral", {"num_local_experts": 2}, "num_local_experts"),
    ("llama", {"rms_norm_eps": 1e-5}, "rms_norm_eps"),
    ("llama", {"rms_norm_eps": 1.0001e-6}, "rms_norm_eps"),
    ("llama", {"rope_interleaved": True}, "rope_interleaved"),
    ("no-such-type", {"a_switch": False}, "a_switch"),
    ("llama", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ("llama", {"attention_bias": True}, "attention_bias"),
    ("llama", {"mlp_bias": True}, "mlp_bias"),
    ("llama", {"head_dim": 16}, "head_dim"),
    ("llama", {"num_attention_heads": 8}, "num_attention_heads"),
    ("llama", {"num_key_value_heads": 2}, "num_key_value_heads"),
    ("llama", {"tie_word_embeddings": True}, "tie_word_embeddings"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ("llama", {"a_field_of_tomorrow": 1}, "a_field_of_tomorrow"),
    ("llama", {"a_field_of_tomorrow": {"inner": [1, 2]}}, "a_field_of_tomorrow.inner"),
    ("mistral", {"sliding_window": 128}, "sliding_window"),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}, "layer_types"),
    ("gemma2", {"final_logit_softcapping": 20.0}, "final_logit_softcapping"),
    ("gemma2", {"attn_logit_softcapping": 20.0}, "attn_logit_softcapping"),
    ("gemma2", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar"),
    ("granite", {"embedding_multiplier": 12.0}, "embedding_multiplier"),
    ("granite", {"residual_multiplier": 0.2}, "residual_multiplier"),
    ("granite", {"logits_scaling": 8.0}, "logits_scaling"),
    ("granite", {"attention_multiplier": 0.1}, "attention_multiplier"),
    ("mixtral", {"num_experts_per_tok": 1}, "num_experts_per_tok"),
    ("deepseek_v3", {"routed_scaling_factor": 1.0}, "routed_scaling_factor"),
    ("gpt_neox", {"use_parallel_residual": False}, "use_parallel_residual"),
    ("gpt_neox", {"rotary_pct": 0.5}, "partial_rotary_factor"),
    ("cohere2", {"sliding_window_pattern": 2}, "layer_types"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ("no-such-type", {"anything": 1}, "anything"),
]
#: What changes nothing in the numbers of a forward pass.
SAME: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"_name_or_path": "x", "transformers_version": "4.1", "torch_dtype": "float16", "use_cache": False}),
    ("llama", {"attention_dropout": 0.1, "initializer_range": 0.5, "pretraining_tp": 2}),
    ("llama", {"eos_token_id": 5, "pad_token_id": 3, "bos_token_id": [1, 2]}),
    ("llama", {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_length": 4096}),
    ("llama", {"max_position_embeddings": 4096}),
    ("llama", {"rope_theta": 10000}),
    ("llama", {"rope_scaling": None}),
    ("llama", {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}),
    ("llama", {"head_dim": 8, "num_key_value_heads": 4}),
    ("llama", {"quantization_config": {"quant_method": "fp8"}}),
    ("llama", {"id2label": {"0": "A", "1": "B"}, "architectures": ["LlamaForCausalLM"]}),
    ("llama", {"unsloth_version": "2024.9"}),
    ("llama", {"is_decoder": False, "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {}}),
    ("llama", {"rms_norm_eps": 9.999999974752427e-07, "rope_theta": 10000}),  # 1e-06 of a GGUF file
    ("llama", {"hidden_act": "swish"}),
    ("llama", {"is_llama_config": True, "rope_interleaved": False}),  # SmolLM2's
    ("qwen2", {"use_mrope": False}),
    ("gemma2", {"cache_implementation": "hybrid"}),
    ("llama", {"layer_types": ["full_attention", "full_attention"]}),
    ("llama", {"loss_type": "ForCausalLM", "trl_version": "0.9", "training": False}),
    # as transformers 4.57 writes them
    ("gpt_neox", {"rotary_pct": 0.25, "partial_rotary_factor": 0.25, "rope_theta": 10000, "rotary_emb_base": 10000}),
    ("granitemoe", {"position_embedding_type": "rope"}),
    ("phi3", {"partial_rotary_factor": 1.0}),
    ("gemma3_text", {"_sliding_window_pattern": 6}),
    ("cohere2", {"_sliding_window_pattern": 4}),
    ("deepseek_v2", {"aux_loss_alpha": 0.001, "seq_aux": True}),
    ("no-such-type", {"torch_dtype": "float16", "eos_token_id": 4}),
    ("qwen2", {"max_window_layers": 1, "sliding_window": 64, "use_sliding_window": False}),
]


def of(kind: str) -> dict[str, Any]:
    return LLAMA | {"model_type": kind}


@pytest.mark.parametrize(("kind", "change", "field"), FUNCTION)
def test_other_functions(kind: str, change: dict[str, Any], field: str) -> None:
    """Refused in both directions; the message has the field and both values."""
    if "rope_parameters" in change:
        change = {"rope_theta": None} | change
    theirs = of(kind) | change
    for one, other in ((of(kind), theirs), (theirs, of(kind))):
        with pytest.raises(CompatibilityError, match="compute differently") as caught:
            check_same_function(one, other, "the base", "alpha")
        assert field in caught.value.message
        assert caught.value.message.count(" and ") >= 2
        assert caught.value.hint
        check_same_function(one, one, "the base", "alpha")


@pytest.mark.parametrize(("kind", "change"), SAME)
def test_the_same_function(kind: str, change: dict[str, Any]) -> None:
    """Two spellings of rope, defaults written out, and what only loading, training or drawing knows."""
    assert differences(of(kind), of(kind) | change) == []
    assert differences(of(kind) | change, of(kind)) == []


def test_both_values_are_named() -> None:
    with pytest.raises(CompatibilityError, match=r"alpha and B .*rms_norm_eps is 0\.5 and 0\.25; rope.*"):
        check_same_function(
            of("llama") | {"rms_norm_eps": 0.25}, of("llama") | {"rms_norm_eps": 0.5, "rope_theta": 5.0}, "B", "alpha"
        )


def test_the_longest_context_counts_where_rope_depends_on_it() -> None:
    """Dynamic scaling and its kin take their angles from it."""
    for kind in ("dynamic", "yarn", "longrope"):
        rope = {"rope_scaling": {"rope_type": kind, "factor": 2.0}}
        one, other = of("llama") | rope, of("llama") | rope | {"max_position_embeddings": 4096}
        assert "max_position_embeddings" in [found.field for found in differences(one, other)]


def test_more_layers_of_one_kind() -> None:
    """Which kind they have is the same; how many of the file's layers there are is not."""
    one, other = of("qwen2"), of("qwen2") | {"num_hidden_layers": 5}
    assert [found.field for found in differences(one, other)] == ["num_hidden_layers"]
    check_same_function(one, other, "b", "a", ignored=COUNTS)


def test_fields_that_the_caller_takes_care_of() -> None:
    check_same_function(
        of("llama"), of("llama") | {"tie_word_embeddings": True}, "b", "a", ignored=("tie_word_embeddings",)
    )


def test_tokens() -> None:
    """Shown in plans, with both values."""
    own, theirs = of("llama") | {"eos_token_id": 2}, of("llama") | {"eos_token_id": [2, 7]}
    assert [(d.field, d.own, d.theirs) for d in token_differences(own, theirs)] == [("eos_token_id", 2, [2, 7])]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "granite", "olmo2"])
def test_every_field_of_an_architecture_is_one_or_the_other(kind: str) -> None:
    """Each number and switch that a class of transformers has is either known to be harmless, or refused."""
    fields = {
        name: value
        for name, value in CONFIG_MAPPING[kind]().to_dict().items()
        if isinstance(value, bool | int | float) and name not in ("is_encoder_decoder",)
    }
    harmless = set()
    for name, value in fields.items():
        change = not value if isinstance(value, bool) else value * 2 + (2 if isinstance(value, int) else 0.25)
        if not differences(of(kind), of(kind) | {name: change}):
            harmless.add(name)
    assert harmless <= {
        *("return_dict", "output_hidden_states", "output_attentions", "use_cache", "chunk_size_feed_forward"),
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"),
        *("initializer_range", "attention_dropout", "pretraining_tp", "max_window_layers"),
        *("pad_token_id", "bos_token_id", "eos_token_id"),
        # without effect where no layer has a window, as the list of the layers' kinds says
        *(("use_sliding_window",) if kind in ("qwen2", "qwen3") else ()),
        *(("_sliding_window_pattern",) if kind == "gemma3_text" else ()),
    }
    assert {"rms_norm_eps", "num_attention_heads"} <= fields.keys() - harmless


def test_the_rule_against_the_model() -> None:
    """Where the rule finds no difference the logits are equal, where it finds one they are not."""
    base = llama(dtype="float32")
    for change in (
        {"rope_parameters": {"rope_theta": 77.0, "rope_type": "default"}},
        {"rms_norm_eps": 0.1},
        {"hidden_act": "relu"},
        {"max_position_embeddings": 128},
        {"attention_dropout": 0.5},
        {"pretraining_tp": 2},
        {"initializer_range": 0.1},
        {"eos_token_id": 9},
    ):
        other = type(base)(type(base.config)(**(base.config.to_dict() | change))).eval()
        other.load_state_dict(base.state_dict())
        equal = torch.equal(logits(base), logits(other))
        assert equal == (differences(base.config.to_dict(), other.config.to_dict()) == []), change

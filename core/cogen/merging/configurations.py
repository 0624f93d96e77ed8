"""Do two configurations compute the same from the same weights? What a merge must know, and tensors do not say.

A field is harmless only where it is known to be: whatever else differs is refused, also a field that this version has
never heard of.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogen.checkpoints.quantized import without_quantization
from cogen.errors import CompatibilityError

#: Who wrote a file and how it is loaded, trained or reported: nothing of it reaches the numbers of a forward pass.
_NO_FUNCTION = frozenset(
    {
        *("_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "transformers.js_config"),
        *("architectures", "auto_map", "torch_dtype", "dtype", "torchscript", "use_bfloat16", "tf_legacy_loss"),
        *("_attn_implementation", "attn_implementation", "_attn_implementation_internal", "_flash_attn_2_enabled"),
        *("_attn_implementation_autoset", "_experts_implementation", "chunk_size_feed_forward", "pretraining_tp"),
        *("use_cache", "output_attentions", "output_hidden_states", "return_dict", "gradient_checkpointing"),
        *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
        *("tokenizer_class", "prefix", "unsloth_version", "unsloth_fixed", "model_name"),
        *("initializer_range", "initializer_factor", "init_std", "classifier_dropout", "attention_dropout"),
        *("hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "resid_pdrop", "embd_pdrop"),
        *("attn_pdrop", "dropout", "activation_dropout", "residual_dropout", "embedding_dropout", "layerdrop"),
        *("output_router_logits", "router_aux_loss_coef", "router_z_loss_coef", "router_jitter_noise"),
        *("aux_loss_alpha", "seq_aux", "num_logits_to_keep", "logits_to_keep", "reference_compile", "verbose"),
        *("cache_implementation", "attn_dropout", "loss_type", "trl_version", "training", "use_reentrant"),
        *("is_llama_config", "tokenizer_model_max_length"),
    }
)
#: Sizes that tensors have: where they differ, so do shapes.
_SIZES = frozenset(
    {
        *("vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size"),
        *("n_embd", "n_inner", "n_positions", "n_ctx"),
    }
)
#: How many of something there are. Tensors need not say it: a model leaves out layers of its file that are beyond.
COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_local_experts", "num_experts")
#: Fields that transformers 4 wrote with one of these values, and that newer versions have no more.
_FORMER: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("is_decoder", "is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder"), (False,)),
    "position_embedding_type": ("absolute", "rope"),
    "partial_rotary_factor": (1.0,),
}
#: From which older configurations derive ``layer_types``; where that list stands, they have no effect.
_PATTERNS = ("sliding_window_pattern", "_sliding_window_pattern", "full_attn_idxs", "global_attn_every_n_layers")
#: Two names of one function.
_SAME_NAME = {"swish": "silu"}
#: What transformers 4 writes beside a table of rope as well.
_ROPE = ("rope_theta", "partial_rotary_factor")
#: Which tokens begin, end and fill a text, and how text is drawn: the plan shows them.
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "unk_token_id")
_DRAWING = frozenset(
    {
        *("temperature", "top_k", "top_p", "min_p", "typical_p", "do_sample", "num_beams", "num_beam_groups"),
        *("max_length", "min_length", "max_new_tokens", "repetition_penalty", "length_penalty", "early_stopping"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"),
        *("diversity_penalty", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "output_scores"),
        *(
            "begin_suppress_tokens",
            "return_dict_in_generate",
            "remove_invalid_values",
            "exponential_decay_length_penalty",
        ),
    }
)
#: Kinds of rope whose angles do not depend on the longest context.
_FIXED_ROPE = ("default", "linear", "llama3", "proportional", None)
#: Differences that one message names.
_MOST = 4


@dataclass(frozen=True)
class Difference:
    """A field of two configurations; ``None``: it is not there."""

    field: str
    own: Any
    theirs: Any


def check_same_function(
    own: Mapping[str, Any],
    theirs: Mapping[str, Any],
    name: str,
    their_name: str,
    *,
    ignored: Sequence[str] = (),
    otherwise: str = "",
) -> None:
    """
    :param own: ``config.json`` of the model whose configuration the result has, called ``name``.
    :param theirs: of a model whose weights go into it, called ``their_name``.
    :param ignored: fields that the caller takes care of.
    :param otherwise: another way out, for the hint.
    :raises CompatibilityError: the same weights compute something else with the two; names fields and both values.
    """
    found = [one for one in differences(own, theirs) if one.field.rpartition(".")[2] not in ignored]
    if found:
        listed = "; ".join(f"{one.field} is {_shown(one.theirs)} and {_shown(one.own)}" for one in found[:_MOST])
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        raise CompatibilityError(
            f"{their_name} and {name} compute differently with the same weights: {listed}{more}",
            hint=f"leave {their_name} out{otherwise}, or correct the config.json that is wrong",
        )


def differences(own: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Fields that may change what the same weights compute, by name."""
    raw = [without_quantization(config) for config in (own, theirs)]
    if _functional(raw[0], _DRAWING) == _functional(raw[1], _DRAWING):
        return []  # without the seconds that importing transformers takes
    full = [_full(config) for config in raw]
    if None in full:
        full = [(config, ()) for config in raw]
    else:
        full = [(_without_off(*config), config[1]) for config in full if config is not None]
    one, other = (_functional(*found) for found in full if found is not None)
    names = [name for name in sorted(one.keys() | other.keys()) if not _same(one.get(name), other.get(name))]
    found = [Difference(name, one.get(name), other.get(name)) for name in names]
    fixed = all(value in _FIXED_ROPE for config in (one, other) for value in _rope_kinds(config))
    return [f for f in found if not (fixed and f.field.rpartition(".")[2] == "max_position_embeddings")]


def token_differences(own: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Tokens that begin, end and fill a text, where the two disagree."""
    one, other = _plain(own), _plain(theirs)
    names = [name for name in sorted(one.keys() | other.keys()) if name.rpartition(".")[2] in _TOKENS]
    return [Difference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _functional(config: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """What is left when everything harmless is gone; nested tables are flat.

    :param known: fields that the architecture has by itself.
    """
    flat = _plain(config)
    kept = {}
    for name, value in flat.items():
        last = name.rpartition(".")[2]
        if last in _NO_FUNCTION or last in _SIZES or last in _TOKENS or value is None:
            continue
        if name in _DRAWING and name not in known:  # some architectures have a top_k of their own
            continue
        if any(part in _NO_FUNCTION for part in name.split(".")):
            continue
        if value in _FORMER.get(last, ()):
            continue
        if last in _ROPE and value == flat.get(f"{name.removesuffix(last)}rope_parameters.{last}"):
            continue
        kept[name] = value
    for prefix in {name.rpartition("num_attention_heads")[0] for name in kept if name.endswith("num_attention_heads")}:
        _write_out(kept, flat, prefix)
    return kept


def _write_out(kept: dict[str, Any], flat: Mapping[str, Any], prefix: str) -> None:
    """Of one model's table: values that follow from others, and settings that these make without effect."""
    heads, hidden = kept.get(f"{prefix}num_attention_heads"), flat.get(f"{prefix}hidden_size")
    if isinstance(heads, int) and heads and isinstance(hidden, int):
        kept.setdefault(f"{prefix}head_dim", hidden // heads)
        kept.setdefault(f"{prefix}num_key_value_heads", heads)
    kinds = kept.get(f"{prefix}layer_types")
    if isinstance(kinds, list) and kinds:
        # The list says of every layer what these say of all.
        kept.pop(f"{prefix}max_window_layers", None)
        kept.pop(f"{prefix}use_sliding_window", None)
        for name in _PATTERNS:
            kept.pop(f"{prefix}{name}", None)
        if "sliding_attention" not in kinds:
            kept.pop(f"{prefix}sliding_window", None)
        if len({*kinds}) == 1:
            kept[f"{prefix}layer_types"] = kinds[:1]
        if {*kinds} == {"full_attention"}:  # as where nothing says it
            kept.pop(f"{prefix}layer_types")


def _full(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Collection[str]] | None:
    """Every field in the words of the installed transformers (of the two spellings of rope, one is left), and those
    that the architecture has by itself; ``None``: transformers does not know it, or does not take this file."""
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return None
    try:
        found: dict[str, Any] = CONFIG_MAPPING[kind].from_dict(dict(config)).to_dict()
        known: dict[str, Any] = CONFIG_MAPPING[kind]().to_dict()
    except Exception:  # noqa: BLE001  # a stranger's file, another's reader; files can be compared as they are
        return None
    return found, known.keys()


def _without_off(config: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Without switches that are off and that the architecture does not have: as if they were not there."""
    return {name: value for name, value in config.items() if value is not False or name in known}


def _same(one: Any, other: Any) -> bool:
    """Numbers are compared as models compute with them, in float32: GGUF files hold 1e-05 as 9.999999747378752e-06."""
    if isinstance(one, float) and isinstance(other, float):
        try:
            return one == other or struct.pack("<f", one) == struct.pack("<f", other)
        except OverflowError:
            return False
    if isinstance(one, str) and isinstance(other, str):
        return _SAME_NAME.get(one, one) == _SAME_NAME.get(other, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _plain(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as ``outer.inner``; rope's former name of its kind only where it stands alone."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _plain(value, f"{prefix}{key}.")
        elif not (key == "type" and "rope_type" in config):
            found[f"{prefix}{key}"] = value
    return found


def _rope_kinds(config: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in config.items():
        if name.rpartition(".")[2] == "rope_type" or name.endswith(("rope_scaling.type", "rope_parameters.type")):
            yield value


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = ascii(value)
    return text if len(text) <= 60 else text[:60] + "…"

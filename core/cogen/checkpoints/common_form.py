"""Configuration and tokenizer files that old and new readers understand alike.

transformers 5 renamed what transformers 4, mlx-lm and others read: of a ``config.json`` with the new names alone they
take defaults in the place of what it says, without a word (a ``rope_theta`` of 10,000 for 100,000). Everything that
CoGen writes has both spellings. What transformers 5 reads does not change by it; a test compares that for every
architecture that it has (``tests/checkpoints/test_common_form.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from cogen.errors import SourceError

#: Kinds of rotary embeddings that transformers 4 knows too.
_ROPE_TYPES = frozenset({"default", "linear", "dynamic", "yarn", "longrope", "llama3"})
#: What transformers 4 calls the two numbers of a flat ``rope_parameters`` in ``config.json``.
_FLAT = {"rope_theta": "rope_theta", "partial_rotary_factor": "partial_rotary_factor"}
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
#: Model types whose ``rope_parameters`` has an entry for each kind of layer: its old names of the two frequencies.
_LAYERED = {
    "gemma3": ("rope_theta", "rope_local_base_freq"),
    "gemma3_text": ("rope_theta", "rope_local_base_freq"),
    "gemma3n_text": ("rope_theta", "rope_local_base_freq"),
    "modernbert": ("global_rope_theta", "local_rope_theta"),
    "modernbert-decoder": ("global_rope_theta", "local_rope_theta"),
    "olmo3": ("rope_theta", None),
}
#: Classes of transformers 5 that say no more than "read tokenizer.json".
_PLAIN_TOKENIZERS = frozenset({"TokenizersBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast"})
#: What transformers 5 leaves in ``tokenizer_config.json`` of the run that saved it.
_RUN = ("backend", "is_local", "local_files_only", "name_or_path", "tokenizer_file", "special_tokens_map_file")
#: Where a configuration names no version. transformers 4.57.3 and later warn of a wrong splitting rule without one.
_VERSION = "4.57.0"
_INPUTS = ["input_ids", "attention_mask"]


def write_common_form(folder: Path) -> None:
    """Rewrite the JSON files beside the weights of a folder that was just written; what is not there is left out.

    The same bytes for the same content, whichever version of transformers is installed.
    """
    _rewrite(folder / "config.json", common_config)
    _rewrite(folder / "generation_config.json", _public)
    if (folder / "tokenizer.json").is_file():
        _rewrite(folder / "tokenizer_config.json", common_tokenizer)


def common_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` with the spellings of transformers 4 and 5, without what belongs to the run that saved it."""
    found = _both_spellings(config)
    if "model_type" in found:
        found.setdefault("transformers_version", _VERSION)
    return found


def common_tokenizer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``tokenizer_config.json`` beside a ``tokenizer.json``, likewise."""
    found = {name: value for name, value in _public(settings).items() if name not in _RUN}
    if _is_one(found.get("tokenizer_class"), _PLAIN_TOKENIZERS):
        found["tokenizer_class"] = "PreTrainedTokenizerFast"
        # Without it, transformers 4 also gives token types, which a causal language model does not take.
        found.setdefault("model_input_names", _INPUTS)
    named, extra = found.pop("model_specific_special_tokens", None), found.get("extra_special_tokens")
    if isinstance(extra, list):
        del found["extra_special_tokens"]
        if extra:
            found["additional_special_tokens"] = extra
    if isinstance(named, dict) and named:
        found = {**named, **found, "extra_special_tokens": named}
    return found


def _both_spellings(config: Mapping[str, Any]) -> dict[str, Any]:
    found = _public(config)
    for name, value in found.items():
        if isinstance(value, dict) and "model_type" in value:
            found[name] = _both_spellings(value)
    dtype = found.get("dtype", found.get("torch_dtype"))
    if isinstance(dtype, str):
        found["dtype"] = found["torch_dtype"] = dtype.removeprefix("torch.")
    return found | _rope(found)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of rotary embeddings in both spellings; empty where one spelling alone can say it."""
    given = config.get("rope_parameters")
    model_type = str(config.get("model_type"))
    if isinstance(given, dict) and given:
        if any(isinstance(value, dict) for value in given.values()):
            return _layered(given, model_type)
        return _old_rope(given, _NEOX if model_type.startswith("gpt_neox") else _FLAT)
    theta, scaling = config.get("rope_theta"), config.get("rope_scaling")
    if not isinstance(theta, int | float) or not (scaling is None or isinstance(scaling, dict)):
        return {}
    if model_type in _LAYERED:  # transformers 5 makes an entry for each kind of layer of it by rules of its own
        return {}
    scaling = dict(scaling or {})
    kind = scaling.pop("type", None)
    made = {"rope_type": kind or "default"} | scaling | {"rope_theta": theta}
    factor = config.get("partial_rotary_factor")
    made |= {} if factor is None else {"partial_rotary_factor": factor}
    return {"rope_parameters": made} | _old_rope(made, _FLAT) if _is_one(made["rope_type"], _ROPE_TYPES) else {}


def _old_rope(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling`` of a flat ``rope_parameters``."""
    kind = given.get("rope_type", given.get("type", "default"))
    if not _is_one(kind, _ROPE_TYPES):
        return {}
    found: dict[str, Any] = {name: given[key] for key, name in names.items() if given.get(key) is not None}
    rest = {name: value for name, value in given.items() if name not in (*names, "rope_type", "type")}
    # "type" is what transformers called it before 4.43, and some readers still do.
    found["rope_scaling"] = {"rope_type": kind, "type": kind, **rest} if rest or kind != "default" else None
    return found


def _layered(given: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    wide, near = given.get("full_attention"), given.get("sliding_attention")
    if model_type not in _LAYERED or not isinstance(wide, dict) or "rope_theta" not in wide:
        return {}
    name, local = _LAYERED[model_type]
    found = _old_rope(wide, {"rope_theta": name})
    if local is not None and isinstance(near, dict) and "rope_theta" in near:
        found[local] = near["rope_theta"]
    return found


def _is_one(value: Any, names: Collection[str]) -> bool:
    """What stands in a stranger's file may be of any type, and some cannot be looked up."""
    return isinstance(value, str) and value in names


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without names that begin with an underscore: transformers' own notes of where something was read from."""
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _rewrite(path: Path, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    if not path.is_file():
        return
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"the model has a damaged {path.name}: {error}", hint="fetch the model again") from error
    text = json.dumps(change(value), indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")

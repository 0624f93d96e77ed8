"""Configuration and tokenizer files in the form that old and new readers understand alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny import llama, tokenizer

from cogen.checkpoints.common_form import common_config, common_tokenizer, write_common_form
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_tokenizer
from cogen.errors import SourceError

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}


class TestRope:
    def test_new_names_get_the_old_ones(self) -> None:
        found = common_config({"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}})
        assert (found["rope_theta"], found["rope_scaling"]) == (1e5, None)
        assert found["rope_parameters"] == {"rope_type": "default", "rope_theta": 1e5}

    def test_old_names_get_the_new_ones(self) -> None:
        found = common_config({"model_type": "llama", "rope_theta": 1e5, "rope_scaling": None})
        assert found["rope_parameters"] == {"rope_type": "default", "rope_theta": 1e5}

    def test_scaling_is_in_both(self) -> None:
        scaled = {"rope_type": "llama3", **LLAMA3}
        new = common_config({"model_type": "llama", "rope_parameters": scaled | {"rope_theta": 5e5}})
        old = common_config({"model_type": "llama", "rope_theta": 5e5, "rope_scaling": scaled})
        assert new == old
        assert new["rope_scaling"] == scaled | {"type": "llama3"}
        assert new["rope_parameters"] == scaled | {"rope_theta": 5e5}

    def test_the_oldest_name_of_the_kind(self) -> None:
        found = common_config(
            {"model_type": "llama", "rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2.0}}
        )
        assert found["rope_parameters"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
        assert found["rope_scaling"] == {"rope_type": "linear", "type": "linear", "factor": 2.0}

    def test_models_with_names_of_their_own(self) -> None:
        rope = {"rope_type": "default", "rope_theta": 5e3, "partial_rotary_factor": 0.5}
        found = common_config({"model_type": "gpt_neox", "rope_parameters": rope})
        assert (found["rotary_emb_base"], found["rotary_pct"]) == (5e3, 0.5)
        assert common_config({"model_type": "phi", "rope_parameters": rope})["partial_rotary_factor"] == 0.5

    def test_kinds_of_layers(self) -> None:
        wide, near = (
            {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            {"rope_type": "default", "rope_theta": 7},
        )
        layers = {"full_attention": wide, "sliding_attention": near}
        found = common_config({"model_type": "gemma3_text", "rope_parameters": layers})
        assert (found["rope_theta"], found["rope_local_base_freq"], found["rope_parameters"]) == (1e6, 7, layers)
        assert found["rope_scaling"] == {"rope_type": "linear", "type": "linear", "factor": 8.0}

    def test_what_transformers_4_has_no_words_for_stays(self) -> None:
        """A kind of embedding, a base without a frequency: nothing is made up."""
        rope = {"rope_type": "axial", "rope_theta": 1e4}
        assert "rope_scaling" not in common_config({"model_type": "x", "rope_parameters": rope})
        assert "rope_parameters" not in common_config({"model_type": "x", "rope_scaling": {"type": "su"}})
        assert common_config({"a": 1}) == {"a": 1}


def test_types_of_numbers_have_both_names() -> None:
    for given in ({"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}, {"torch_dtype": "torch.bfloat16"}):
        found = common_config({"model_type": "llama", "text_config": {"model_type": "llama", **given}, **given})
        for place in (found, found["text_config"]):
            assert (place["dtype"], place["torch_dtype"]) == ("bfloat16", "bfloat16")


def test_notes_of_a_run_are_left_out() -> None:
    found = common_config({"model_type": "llama", "_name_or_path": "/home/x", "_model_name_or_path": "x"})
    assert sorted(found) == ["model_type", "transformers_version"]
    run = {"is_local": True, "local_files_only": False, "name_or_path": "/home/x", "backend": "tokenizers"}
    assert common_tokenizer({"eos_token": "</s>", **run}) == {"eos_token": "</s>"}


class TestTokenizer:
    def test_a_class_that_every_version_has(self) -> None:
        found = common_tokenizer({"tokenizer_class": "TokenizersBackend"})
        assert found["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert found["model_input_names"] == ["input_ids", "attention_mask"]
        assert common_tokenizer({"tokenizer_class": "GPT2Tokenizer"}) == {"tokenizer_class": "GPT2Tokenizer"}

    def test_special_tokens_as_transformers_4_wants_them(self) -> None:
        assert common_tokenizer({"extra_special_tokens": []}) == {}
        assert common_tokenizer({"extra_special_tokens": ["<a>"]}) == {"additional_special_tokens": ["<a>"]}
        found = common_tokenizer(
            {"model_specific_special_tokens": {"image_token": "<i>"}, "extra_special_tokens": ["<a>"]}
        )
        assert found == {
            "image_token": "<i>",
            "extra_special_tokens": {"image_token": "<i>"},
            "additional_special_tokens": ["<a>"],
        }

    def test_the_same_tokenizer(self, tmp_path: Path) -> None:
        """Special tokens of all kinds, by transformers as it is installed."""
        import copy

        given = copy.deepcopy(tokenizer())
        given.add_special_tokens({"extra_special_tokens": ["<|a|>", "<|b|>"], "pad_token": "<|pad|>"})
        given.save_pretrained(tmp_path)
        before = load_tokenizer(tmp_path)
        write_common_form(tmp_path)
        after = load_tokenizer(tmp_path)
        assert tokenizer_digest(after) == tokenizer_digest(before)
        assert after.extra_special_tokens == before.extra_special_tokens == ["<|a|>", "<|b|>"]
        text = "the grid<|a|> measures<|pad|>"
        assert after(text)["input_ids"] == before(text)["input_ids"]
        assert [*after(text)] == [*before(text)] == ["input_ids", "attention_mask"]


def _plain(value: Any) -> Any:
    """Without the old name of a kind of rotary embedding, and without what says who wrote the file."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in ("type", "transformers_version") and k[:1] != "_"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _configurations() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@pytest.mark.filterwarnings("ignore")
def test_transformers_reads_what_it_read_before() -> None:
    """The configuration of every causal language model that it has, from its own spelling and from the common one."""
    from transformers import CONFIG_MAPPING

    def read(kind: str, written: dict[str, Any]) -> Any:
        return _plain(json.loads(json.dumps(CONFIG_MAPPING[kind].from_dict(dict(written)).to_dict(), default=str)))

    changed = []
    for kind in _configurations():
        try:
            written = json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False))
            wanted = read(kind, written)
        except Exception:  # noqa: BLE001 (some cannot be made without a part of their own, nor read from what they write)
            continue
        common = json.loads(json.dumps(common_config(written)))
        found = read(kind, common)
        # An old name that the class has no field for stays beside what was made of it.
        assert {name: value for name, value in found.items() if name in wanted} == wanted, kind
        assert found.keys() - wanted.keys() <= common.keys() - written.keys(), kind
        changed += [kind] if common.get("rope_theta") and not written.get("rope_theta") else []
    assert len(changed) > 60
    assert {"llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3_moe", "flex_olmo", "gemma3_text"} <= {*changed}


def test_the_same_bytes_when_it_is_done_again(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    names = ("config.json", "generation_config.json", "tokenizer_config.json")
    write_common_form(tmp_path)
    once = {name: (tmp_path / name).read_bytes() for name in names}
    write_common_form(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == once


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("[1]")
    with pytest.raises(SourceError, match=r"damaged generation_config\.json"):
        write_common_form(tmp_path)

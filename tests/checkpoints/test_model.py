"""``open_weights``: digests, formats, bases, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import FFN, llama, logits, save_adapter, save_model, tokenizer

from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.load import assign, load_model, load_tokenizer
from cogen.checkpoints.model import Checkpoint, accumulator, open_folder, open_weights
from cogen.errors import CogenError, CompatibilityError, DigestError, SourceError, UnsafeError
from cogen.spec.model import BaseRef, ModelSpec

ZERO = "sha256:" + "0" * 64


def ref_of(folder: Path, **changes: Any) -> BaseRef:
    fields: dict[str, Any] = {
        "name": "A base",
        "license": "MIT",
        "source": f"file://{folder}",
        "dtype": "float32",
        "file_digest": file_digest(folder),
        "weights_digest": open_folder(folder).weights_digest,
    }
    return BaseRef(**(fields | changes))


def adapter_ref(folder: Path, base: BaseRef, **changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "An adapter",
        "source": f"file://{folder}",
        "format": "peft",
        "dtype": "float32",
        "relation": "ffn",
        "file_digest": file_digest(folder),
        "weights_digest": Checkpoint(folder, _tensors(folder)).weights_digest,
        "architecture": "LlamaForCausalLM",
        "parameters": 1,
        "context_length": 1024,
        "base": base,
    }
    return ModelSpec(**(fields | changes))


def _tensors(folder: Path) -> Any:
    from cogen.checkpoints.safetensors_file import read_folder

    return read_folder(folder)


class TestOpenWeights:
    """Both digests are checked whenever weights are opened."""

    def test_a_folder(self, tmp_path: Path) -> None:
        """Names sorted, dtypes and shapes from the header, tensors as saved."""
        folder = save_model(tmp_path / "base", dtype="bfloat16")
        checkpoint = open_weights(ref_of(folder))
        saved = load_file(folder / "model.safetensors")
        assert checkpoint.names() == sorted(saved)
        assert checkpoint.config["model_type"] == "llama"
        for name, tensor in saved.items():
            assert torch.equal(checkpoint.read(name), tensor)
            assert checkpoint.read(name, torch.float64).dtype == torch.float64
            assert checkpoint.tensors[name].shape == tuple(tensor.shape)
        assert checkpoint.changed(checkpoint.names()[0])

    def test_an_adapter_over_its_base(self, tmp_path: Path) -> None:
        """Its lineage is that of its own tensors; only the adapted names count as changed."""
        base = ref_of(save_model(tmp_path / "base"))
        checkpoint = open_weights(adapter_ref(save_adapter(tmp_path / "a"), base))
        assert {name for name in checkpoint.names() if checkpoint.changed(name)} == {f"{m}.weight" for m in FFN}
        assert checkpoint.weights_digest != base.weights_digest
        assert checkpoint.folder == tmp_path / "base"

    @pytest.mark.parametrize("field", ["file_digest", "weights_digest"])
    def test_moved_digests(self, tmp_path: Path, field: str) -> None:
        """Of the base, of the adapter, and of the base below an adapter."""
        folder = save_model(tmp_path / "base")
        base, adapter = ref_of(folder), save_adapter(tmp_path / "a")
        for ref in (
            ref_of(folder, **{field: ZERO}),
            adapter_ref(adapter, base, **{field: ZERO}),
            adapter_ref(adapter, base.model_copy(update={field: ZERO})),
        ):
            with pytest.raises(DigestError) as caught:
                open_weights(ref)
            assert caught.value.hint

    def test_an_adapter_of_another_base(self, tmp_path: Path) -> None:
        """A tensor that the base lacks, or has in another shape."""
        base = ref_of(save_model(tmp_path / "base", intermediate_size=48))
        with pytest.raises(CompatibilityError, match=r"does not fit A base: model\.layers") as caught:
            open_weights(adapter_ref(save_adapter(tmp_path / "a"), base))
        assert caught.value.hint

    def test_an_adapter_without_a_base(self, tmp_path: Path) -> None:
        """A `[model.base]` that is itself an adapter has nothing below it."""
        adapter = save_adapter(tmp_path / "a")
        ref = BaseRef(
            name="x", license="MIT", source=f"file://{adapter}", format="peft", file_digest=ZERO, weights_digest=ZERO
        )
        with pytest.raises(CompatibilityError, match="without a base") as caught:
            open_weights(ref)
        assert caught.value.hint

    def test_a_file_where_a_folder_is_needed(self, tmp_path: Path) -> None:
        """And the other way round; both say what the format names."""
        folder = save_model(tmp_path / "base")
        file = folder / "model.safetensors"
        with pytest.raises(SourceError, match="is a single file") as caught:
            open_weights(ref_of(folder, source=f"file://{file}", file_digest=file_digest(file)))
        assert caught.value.hint
        with pytest.raises(SourceError, match="is a folder") as caught:
            open_weights(ref_of(folder, format="gguf"))
        assert caught.value.hint


def _config(**changes: Any) -> Any:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somewhere/else"}')


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (_config(model_type="mine", auto_map={"AutoModelForCausalLM": "mine.Mine"}), UnsafeError, "remote code"),
        (_pickle, UnsafeError, "pickle"),
        (_adapter, CompatibilityError, "adapter"),
        (_no_config, SourceError, "config.json"),
        (_list, SourceError, "config.json"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, damage: Any, kind: type[CogenError], text: str) -> None:
    """Remote code, pickles, adapters that claim to be models (transformers would load their base), no config."""
    folder = save_model(tmp_path / "base")
    damage(folder)
    with pytest.raises(kind, match=text) as caught:
        open_folder(folder).config  # noqa: B018
    assert caught.value.hint


def test_code_beside_a_known_architecture_is_never_run(tmp_path: Path) -> None:
    """transformers has the architecture itself, so the publisher's files are only bytes."""
    folder = save_model(tmp_path / "base")
    _config(auto_map={"AutoModelForCausalLM": "mine.Mine", "AutoConfig": "mine.Config"})(folder)
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    model = load_model(open_folder(folder), "float32")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_that_wants_code_is_unsafe(tmp_path: Path) -> None:
    """`auto_map` in tokenizer_config.json of a class that transformers lacks."""
    folder = save_model(tmp_path / "base")
    path = folder / "tokenizer_config.json"
    changes = {"tokenizer_class": "MineTokenizer", "auto_map": {"AutoTokenizer": ["mine.MineTokenizer", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UnsafeError, match="remote code") as caught:
        load_tokenizer(folder)
    assert caught.value.hint
    assert not (tmp_path / "ran").exists()


class TestLoading:
    """From a checkpoint to a model that runs."""

    def test_the_same_logits(self, tmp_path: Path) -> None:
        """As the model that was saved, bit for bit."""
        folder = save_model(tmp_path / "base")
        assert torch.equal(logits(load_model(open_folder(folder), "float32")), logits(llama()))

    def test_missing_tensors_are_never_invented(self, tmp_path: Path) -> None:
        """transformers would initialise what is missing at random and only warn."""
        folder = save_model(tmp_path / "base")
        tensors = load_file(folder / "model.safetensors")
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(SourceError, match=r"model\.layers\.1\.mlp\.up_proj\.weight") as caught:
            load_model(open_folder(folder), "float32")
        assert caught.value.hint

    def test_no_architecture_of_ours(self, tmp_path: Path) -> None:
        """One line and a hint."""
        folder = save_model(tmp_path / "base")
        _config(model_type="nothing-known", architectures=["Nothing"])(folder)
        with pytest.raises(SourceError, match="cannot be loaded") as caught:
            load_model(open_folder(folder), "float32")
        assert caught.value.hint

    def test_no_tokenizer(self, tmp_path: Path) -> None:
        """One line and a hint."""
        folder = tmp_path / "base"
        llama().save_pretrained(folder)
        with pytest.raises(SourceError, match="tokenizer") as caught:
            load_tokenizer(folder)
        assert caught.value.hint
        tokenizer().save_pretrained(folder)
        assert len(load_tokenizer(folder)) == 300

    def test_a_tokenizer_of_sentencepiece_alone(self, tmp_path: Path) -> None:
        """``tokenizer.model`` without tokenizer.json, as older models come; its reader is a declared dependency."""
        import io

        import sentencepiece

        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the grid operator measures voltage at every node"] * 20),
            model_writer=model,
            vocab_size=40,
            model_type="bpe",
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        found = load_tokenizer(tmp_path)
        text = "the grid operator"
        reader = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        assert found(text, add_special_tokens=False)["input_ids"] == reader.encode(text)
        assert tokenizer_digest(found).startswith("sha256:")

    @pytest.mark.parametrize("module", ["sentencepiece", "tiktoken"])
    def test_a_tokenizer_whose_reader_is_not_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
    ) -> None:
        """One line with the pip command, not a traceback."""
        monkeypatch.setattr(
            "transformers.AutoTokenizer.from_pretrained",
            lambda *_, **__: (_ for _ in ()).throw(ImportError(f"it requires {module}: pip install {module}")),
        )
        with pytest.raises(CogenError, match="tokenizer") as caught:
            load_tokenizer(tmp_path)
        assert 'pip install "cogen-core[tokenizers]"' in str(caught.value.hint)

    def test_assigning_to_names_that_the_model_lacks(self) -> None:
        """An architecture whose parameters are called otherwise than its checkpoint's tensors is refused."""
        with pytest.raises(CompatibilityError, match=r"model\.layers\.9") as caught:
            assign(llama(), {"model.layers.9.weight": torch.ones(1)})
        assert caught.value.hint

    def test_assigning_to_a_tied_head(self) -> None:
        """Both names of a tied tensor name the same parameter."""
        model = llama()
        assign(model, {"lm_head.weight": torch.ones(300, 32)})
        assert torch.equal(model.get_parameter("model.embed_tokens.weight"), torch.ones(300, 32))


def test_accumulators() -> None:
    """float32 for bf16 and fp16, float64 for float32: wide enough that the laws of merging hold bit for bit."""
    assert accumulator(torch.bfloat16) == accumulator(torch.float16) == torch.float32
    assert accumulator(torch.float32) == accumulator(torch.float64) == torch.float64

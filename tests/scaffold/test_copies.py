"""What `cogen new --from` copies says nothing of the machine that it is from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.tiny import save_adapter, save_model

import cogen
from cogen.checkpoints.links import leads_out
from cogen.errors import CompatibilityError, UnsafeError
from cogen.scaffold.copies import copy_model_file
from cogen.sharing.publishing.hub import staged_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", dtype="bfloat16")


@pytest.mark.parametrize("name", ["chat_template.jinja", "vocab.txt", "generation_config.json"])
def test_a_link_to_a_file_elsewhere(tmp_path: Path, model: Path, name: str) -> None:
    """A folder that somebody else packed may link to any file of whoever opens it: it is neither copied nor sent."""
    (tmp_path / "id_rsa").write_text("a secret")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(tmp_path / "id_rsa")
    with pytest.raises(UnsafeError, match=f"{name} in model is a link to a file outside of it"):
        cogen.new_from("tide", model, tmp_path / "plugin")
    assert not (tmp_path / "plugin").exists()
    with pytest.raises(UnsafeError, match=f"{name} in model is a link"):
        list(staged_files(model))


def test_links_of_the_cache_of_the_hub(tmp_path: Path) -> None:
    """Every file of a snapshot is a link to a blob of the same repository."""
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1234"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to(blobs / "abc")
    assert not leads_out(snapshot / "config.json", snapshot)
    (tmp_path / "id_rsa").write_text("a secret")
    (snapshot / "vocab.txt").symlink_to(tmp_path / "id_rsa")
    assert leads_out(snapshot / "vocab.txt", snapshot)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("config.json", "_name_or_path", "/home/w3/Mueller/base"),
        ("tokenizer_config.json", "name_or_path", "C:\\ward\\base"),
        ("tokenizer_config.json", "special_tokens_map_file", "~/.cache/x.json"),
        ("adapter_config.json", "base_model_name_or_path", "/data/base"),
    ],
)
def test_paths_in_configurations(tmp_path: Path, name: str, key: str, value: str) -> None:
    folder, target = tmp_path / "from", tmp_path / "to"
    folder.mkdir()
    target.mkdir()
    kept = {"model_type": "llama", "tokenizer_class": "x", "note": "/a/b"}
    (folder / name).write_text(json.dumps(kept | {key: value}))
    copy_model_file(folder / name, folder, target)
    assert json.loads((target / name).read_text()) == kept
    (folder / name).write_text(text := json.dumps(kept | {key: "org/base"}))
    copy_model_file(folder / name, folder, target)
    assert (target / name).read_text() == text


@pytest.mark.parametrize("notes", [{"format": "pt", "captions": "Frau Müller"}, {"folder": "/data/ward 3"}])
def test_notes_in_the_header_of_weights(tmp_path: Path, notes: dict[str, str]) -> None:
    """What a trainer wrote there stays at home; every bit of the tensors is kept."""
    tensors: dict[str, Any] = {"a": torch.randn(3, 5).bfloat16(), "b": torch.arange(7)}
    folder, target = tmp_path / "from", tmp_path / "to"
    folder.mkdir()
    target.mkdir()
    save_file(tensors, folder / "x.safetensors", notes)
    copy_model_file(folder / "x.safetensors", folder, target)
    found = load_file(target / "x.safetensors")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    with safe_open(target / "x.safetensors", "pt") as opened:
        assert (opened.metadata() or {}) == {key: value for key, value in notes.items() if key == "format"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, model: Path, value: float) -> None:
    """Nobody can use them, so nothing is made of them."""
    adapter = save_adapter(tmp_path / "adapter", base_model_name_or_path=str(model))
    for folder, file in ((adapter, "adapter_model.safetensors"), (model, "model.safetensors")):
        tensors = load_file(folder / file)
        name = sorted(tensors)[-1]
        tensors[name].view(-1)[-1] = value
        save_file(tensors, folder / file, {"format": "pt"})
        with pytest.raises(CompatibilityError, match=f"{name} of {folder.name} holds NaN or infinity"):
            cogen.new_from("tide", folder, tmp_path / "plugin")
        save_model(model, dtype="bfloat16")


@pytest.mark.parametrize(
    ("dtype", "factor", "config", "held"),
    [
        ("bfloat16", 1e20, {}, "float32"),
        ("bfloat16", 1e18, {"lora_alpha": 1e6}, "float32"),
        ("bfloat16", 1e18, {"alpha_pattern": {"up_proj": 1e6}}, "float32"),
        ("float16", 1.0, {"lora_alpha": 1e6}, "float16"),
        ("float16", 1.0, {"alpha_pattern": {"up_proj": 1e6}}, "float16"),
    ],
)
def test_changes_that_no_model_holds(
    tmp_path: Path, dtype: str, factor: float, config: dict[str, object], held: str
) -> None:
    """Finite in the adapter, and infinity in a model: as `check` and `publish` would say later."""
    model = save_model(tmp_path / "held", dtype=dtype)
    adapter = save_adapter(tmp_path / "adapter", base_model_name_or_path=str(model))
    file, path = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    save_file({name: tensor * factor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    match = rf"nobody can use adapter: the change of model\.layers\S+ may be beyond what {held} can hold"
    with pytest.raises(CompatibilityError, match=match) as caught:
        cogen.new_from("tide", adapter, tmp_path / "plugin")
    assert "lora_alpha" in (caught.value.hint or "")
    assert not (tmp_path / "plugin").exists()

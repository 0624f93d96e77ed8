"""The tools themselves, on the first two layers of the real base: its tokenizer is one that llama.cpp knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cogen.api.exports import export
from cogen.checkpoints.bases import BASES
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder, open_weights
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.errors import CogenError
from cogen.exports.tools import ExportError
from cogen.host import Host
from cogen.merging.writer import copy_model_files

pytestmark = [pytest.mark.network, pytest.mark.slow]
_LAYERS = 2


@pytest.fixture(scope="module")
def short(real_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base without most of its layers."""
    checkpoint = open_weights(BASES["smollm2-135m-instruct"][0])
    folder = tmp_path_factory.mktemp("short") / "short"
    folder.mkdir()
    kept = [n for n in checkpoint.names() if ".layers." not in n or int(n.split(".")[2]) < _LAYERS]
    write_safetensors(folder / "model.safetensors", {n: checkpoint.read(n) for n in kept}, {"format": "pt"})
    copy_model_files(checkpoint.folder, folder)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": _LAYERS}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _logits(model: Any, ids: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(ids).logits.float()


def _distance(folder: Path, exported: Any) -> float:
    """Mean divergence of the next-token distributions, in nats."""
    import torch

    ids = torch.arange(100, 160)[None]
    own, other = _logits(load_model(open_folder(folder), "float32"), ids).log_softmax(-1), _logits(exported, ids)
    return float((own.exp() * (own - other.log_softmax(-1))).sum(-1).mean())


def test_gguf_is_the_same_function_and_quantizing_is_near_it(short: Path) -> None:
    pytest.importorskip("cyllama")
    from transformers import AutoConfig

    from cogen.exports.llama import LlamaModel

    config, found = AutoConfig.from_pretrained(short), {}
    for to in ("gguf", "gguf:Q8_0", "gguf:Q4_K_M"):
        folder = export(short, to, level="none", host=Host.discover()).folder
        (file,) = folder.glob("*.gguf")
        found[to] = _distance(short, LlamaModel(file, config)), file.stat().st_size
        assert not (folder / "plain.gguf").exists()
        assert 'PARAMETER stop "<|im_end|>"' in (folder / "Modelfile").read_text()
    (exact, whole), (eight, half), (four, quarter) = found.values()
    assert exact < 1e-3
    assert exact < eight < four < 0.5
    assert whole > 1.7 * half > 1.7 * quarter


def test_a_gguf_that_lost_something_is_refused(short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that reads another rope than the model has: nothing is written."""
    pytest.importorskip("cyllama")
    from cogen.exports import llama

    real = llama.convert

    def forgetful(model: Path, *rest: Any) -> None:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").unlink()
        config["rope_parameters"] = {"rope_theta": 3.0, "rope_type": "default"}
        (model / "config.json").write_text(json.dumps(config | {"rope_theta": 3.0}))
        real(model, *rest)

    monkeypatch.setattr("cogen.exports.llama.convert", forgetful)
    with pytest.raises(ExportError, match=r"the GGUF in llama\.cpp is another function than short"):
        export(short, "gguf", tmp_path / "out", level="none", host=Host.discover())
    assert not (tmp_path / "out").exists()


def test_onnx_is_the_same_function(short: Path) -> None:
    pytest.importorskip("onnxruntime_genai")
    from transformers import AutoConfig

    from cogen.exports.onnx import OnnxModel

    folder = export(short, "onnx", level="none", host=Host.discover()).folder
    assert _distance(short, OnnxModel(folder / "model.onnx", AutoConfig.from_pretrained(short))) < 1e-3
    assert {"genai_config.json", "tokenizer.json", "README.md", "export.json"} <= {p.name for p in folder.iterdir()}


def test_an_architecture_that_the_converter_does_not_know_is_one_line(short: Path, tmp_path: Path) -> None:
    pytest.importorskip("cyllama")
    from support.tiny import save_model

    odd = save_model(tmp_path / "odd", 1, "bfloat16")  # its tokenizer is none that llama.cpp knows
    with pytest.raises(CogenError) as error:
        export(odd, "gguf", level="none", host=Host.discover())
    assert "\n" not in error.value.message
    assert not (tmp_path / "odd-gguf").exists()

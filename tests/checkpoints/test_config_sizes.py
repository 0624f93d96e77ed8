"""Sizes in config.json that no tensor bears out are refused before a model of that size is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny import save_model

from cogen.checkpoints.config_sizes import check_sizes
from cogen.checkpoints.facts import facts_of
from cogen.checkpoints.model import open_folder
from cogen.checkpoints.safetensors_file import TensorInfo
from cogen.errors import SourceError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 1_000_000),
        ("num_experts", 100_000),
        ("hidden_size", 1 << 20),
        ("vocab_size", 1 << 30),
        ("head_dim", 1 << 20),
        ("max_position_embeddings", 1 << 40),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_more_than_there_is(tmp_path: Path, name: str, value: int, nested: bool) -> None:
    folder = save_model(tmp_path / "m")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | ({"text_config": {name: value}} if nested else {name: value})))
    for read in (open_folder, facts_of):
        with pytest.raises(SourceError, match=f"says {name} = {value:,}, and its 20 tensors hold no such model") as e:
            read(folder)
        assert e.value.hint


@pytest.mark.parametrize(
    ("config", "count", "shape"),
    [
        (  # DeepSeek-V3
            {"num_hidden_layers": 61, "n_routed_experts": 256, "hidden_size": 7168, "vocab_size": 129280}
            | {"intermediate_size": 18432, "num_attention_heads": 128, "max_position_embeddings": 163840},
            4000,
            (129280, 7168),
        ),
        ({"text_config": {"num_hidden_layers": 48, "max_position_embeddings": 10485760}}, 500, (202048, 5120)),
        ({"num_experts": 2048, "num_hidden_layers": 1}, 3, (2048, 64, 32)),  # all experts of a layer in one tensor
        ({"num_hidden_layers": 400}, 1, (4, 4)),  # a part of a model
        ({}, 0, ()),
    ],
)
def test_what_there_is(config: dict[str, object], count: int, shape: tuple[int, ...]) -> None:
    tensors = {str(n): TensorInfo(str(n), "bfloat16", shape, Path("x"), 0, 0) for n in range(count)}
    check_sizes(Path("m"), config, tensors)

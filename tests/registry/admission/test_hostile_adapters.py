"""Adapters that nobody could use, or whose configuration attacks its reader, never become a release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import tomlkit
from safetensors.numpy import save
from support import weights, wheels
from support.manifests import folder_digest

from cogen_registry.admission.described import problem_of
from cogen_registry.errors import Refused
from cogen_registry.service import Service

Upload = Callable[..., Any]


def wheel(folder: Path, change: dict[str, Any]) -> Path:
    """A wheel whose manifest has the right digests of an adapter with another configuration."""
    content = dict(wheels.package_files("power"))
    name = "weights/adapter_config.json"
    content[name] = json.dumps(json.loads(content[name]) | change).encode()
    manifest = tomlkit.parse(content["expert.toml"].decode()).unwrap()
    own = {path.removeprefix("weights/"): data for path, data in content.items() if path.startswith("weights/")}
    manifest["model"]["file_digest"] = folder_digest(own)
    content["expert.toml"] = tomlkit.dumps(manifest).encode()
    return wheels.build(folder, "power", content=content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lora_alpha": float("nan")}, "lora_alpha = nan"),
        ({"lora_alpha": float("inf")}, "lora_alpha = inf"),
        ({"lora_alpha": True}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"lora_alpha": 1e38}, "lora_alpha"),
        ({"alpha_pattern": {"up_proj": float("nan")}}, "alpha_pattern.up_proj = nan"),
        ({"rank_pattern": {"*.q_proj": 2}}, "rank_pattern"),
        ({"rank_pattern": ["a"]}, "rank_pattern"),
        ({"rank_pattern": {"((a{50}){50}){50}": 1}}, "rank_pattern"),
        ({"modules_to_save": 3}, "modules_to_save"),
        ({"modules_to_save": [1]}, "modules_to_save"),
    ],
)
def test_what_nobody_can_use(
    service: Service, publisher: Upload, upload: Upload, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    """Refused by the field's name, with a hint, and nothing of it is kept."""
    with pytest.raises(Refused) as caught:
        upload(publisher(), wheel(tmp_path, change))
    assert caught.value.status == 400
    assert named in caught.value.message
    assert "Error" not in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint
    assert not list(service.blobs.names())


@pytest.mark.parametrize("change", [{}, {"lora_alpha": 2.5}, {"rank_pattern": {"(([a-z._0-9])+)+!": 1}}])
def test_what_can_be_read(publisher: Upload, upload: Upload, tmp_path: Path, change: dict[str, Any]) -> None:
    """The last of them kept Python's engine busy for ten seconds; here it is a pattern that fits nothing."""
    assert upload(publisher(), wheel(tmp_path, change)).filename == "cogen_plugin_power-1.0-py3-none-any.whl"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_elsewhere_with_a_number_that_is_none(tmp_path: Path, value: float) -> None:
    """Weights in a repository, which are not in the wheel, are looked at as well."""
    tensors = weights.adapter_tensors()
    files = dict(weights.adapter())
    name = next(iter(tensors))
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] = numpy.float32(value)
    files["adapter_model.safetensors"] = save(tensors)
    model = tomlkit.parse(wheels.package_files("power")["expert.toml"].decode()).unwrap()["model"]
    model["weights_digest"] = weights.tensors_digest(files)
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    problem = problem_of(str(tmp_path), "model", json.dumps(model))["problem"]
    assert problem == f"{name} holds NaN or infinity: nobody can use them"


@pytest.mark.parametrize(("value", "base", "beyond"), [(1e30, "float32", "float32"), (1e4, "float16", "float16")])
def test_factors_whose_product_is_no_number(tmp_path: Path, value: float, base: str, beyond: str) -> None:
    """Each factor is finite, and no base with them: in the type that it is held in."""
    files = dict(weights.adapter())
    huge = {name: numpy.full_like(tensor, value) for name, tensor in weights.adapter_tensors().items()}
    files["adapter_model.safetensors"] = save(huge)
    model = tomlkit.parse(wheels.package_files("power")["expert.toml"].decode()).unwrap()["model"]
    model["weights_digest"] = weights.tensors_digest(files)
    model["base"]["dtype"] = base
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    problem = problem_of(str(tmp_path), "model", json.dumps(model))["problem"]
    assert problem == f"nobody can use them: the change of {weights.MODULE}.weight may be beyond what {beyond} can hold"
    model["base"]["dtype"] = "bfloat16" if value < 1e30 else base
    assert (problem_of(str(tmp_path), "model", json.dumps(model))["problem"] is None) == (value < 1e30)

"""Weights that are too large for a wheel: in parts, with resume, and none of them in the wheel."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlalchemy import select
from support.hub import Registry
from support.trees import tree
from support.users import Users, publisher

from cogen.checkpoints.facts import digest_of, facts_of
from cogen.checkpoints.safetensors_file import read_folder
from cogen.errors import SpecError
from cogen.sharing.publishing.parts import split
from cogen.sharing.publishing.weights import set_apart, too_large, without_large
from cogen_registry.database.tables import Possession, Repository

#: Elements of one tensor, and how many there are: 24 parts of a quarter of a megabyte.
SIZE, COUNT = 1 << 16, 24
PART = SIZE * 4 + 1024
CHILD = """
import json, os, sys
from pathlib import Path
from cogen.sharing.publishing import hub, parts

parts.PART = int(sys.argv[2])
place = hub.HubPlace("large/model", os.environ["HF_ENDPOINT"], os.environ["HF_TOKEN"])
who = {"publisher": "large", "project": "p", "version": "1", "key": None, "password": None}
made = hub.upload(Path(sys.argv[1]), place, **who, note=lambda text: print(text, flush=True))
print(json.dumps([made.revision, made.file_digest]))
"""


def model(folder: Path) -> Path:
    """A model of one file, as save_pretrained writes models of up to 50 GB."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    tensors = {f"model.layers.{i}.w": random.standard_normal(SIZE).astype(np.float32) for i in range(COUNT)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 8}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def held(registry: Registry) -> int:
    """Bytes of weights that the registry has of the repository."""
    with registry.service.sessions.read() as session:
        sizes = session.scalars(select(Possession.size).join(Repository).where(Repository.key == "large/model"))
        return sum(sizes)


def test_a_killed_upload_sends_only_what_is_missing(registry: Registry, tmp_path: Path) -> None:
    """Over a socket: killed in the middle and run again, no part is sent twice, and what arrives is the model."""
    weights = model(tmp_path / "weights")
    command = [sys.executable, "-c", CHILD, str(weights), str(PART)]
    environment = registry.environment(tmp_path / "hf", "large")
    before = registry.received["PUT /lfs"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if line.startswith(f"5 of {COUNT} parts"):
                killed.kill()
                break
    there = held(registry)
    assert 5 * SIZE * 4 <= there < COUNT * SIZE * 4
    middle = registry.received["PUT /lfs"]
    assert middle - before >= there
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total = held(registry)
    sent = registry.received["PUT /lfs"] - middle
    # At most one part was on its way when the process ended: it may have arrived whole.
    assert total - there - PART <= sent <= total - there
    revision, _ = json.loads(done.stdout.splitlines()[-1])
    files = registry.hub("large").send("GET", f"/api/models/large/model/tree/{revision}").json()
    shards = [one["path"] for one in files if one["path"].endswith(".safetensors")]
    assert shards == [f"model-{number:05}-of-{COUNT:05}.safetensors" for number in range(1, COUNT + 1)]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".cogen-publish")] == []
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(again.stdout.splitlines()[-1])[1] == json.loads(done.stdout.splitlines()[-1])[1]
    assert registry.received["PUT /lfs"] - middle == sent


def test_shards_hold_the_same_tensors(tmp_path: Path) -> None:
    """Bit for bit, under the digest that the manifest has; each within the limit, but a tensor that alone is larger."""
    whole, stage = model(tmp_path / "whole"), model(tmp_path / "stage")
    assert split(stage, 3 * SIZE * 4 + 9) == COUNT // 3
    assert digest_of(read_folder(stage)) == digest_of(read_folder(whole))
    assert facts_of(stage).parameters == SIZE * COUNT
    index = json.loads((stage / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": SIZE * COUNT * 4}
    for name, shard in index["weight_map"].items():
        assert (load_file(stage / shard)[name] == load_file(whole / "model.safetensors")[name]).all()
    files = {path.name: path.read_bytes() for path in stage.iterdir()}
    split(stage, 3 * SIZE * 4 + 4096)
    assert {path.name: path.read_bytes() for path in stage.iterdir()} == files
    assert split(stage, 100) == COUNT


def test_adapters_stay_one_file(tmp_path: Path) -> None:
    """peft reads no shards."""
    folder = model(tmp_path / "adapter")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    assert split(folder, 100) == 1
    assert (folder / "adapter_model.safetensors").is_file()


@pytest.mark.usefixtures("quick")
def test_large_weights_leave_the_package(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing moves them to a repository, says so, pins them, and the wheel holds none of them."""
    monkeypatch.setattr("cogen.sharing.publishing.weights.WEIGHTS_IN_WHEEL", 100)
    team = publisher(registry, users, "heavy")
    folder = tree(team.home / "plugin", "heavy")
    manifest = folder / "cogen_plugin_heavy" / "expert.toml"
    before = manifest.read_bytes()
    dry = team("publish", "plugin", "--dry-run")
    assert dry.code == 0, dry.error
    assert manifest.read_bytes() == before
    assert (folder / "cogen_plugin_heavy" / "weights").is_dir()
    output = team("publish", "plugin", "--yes")
    assert output.code == 0, output.error
    assert output.data["weights"]["heavy"].startswith("hf://heavy/heavy@")
    assert output.data["state"] == "released"
    with zipfile.ZipFile(next((folder / "dist").glob("*.whl"))) as wheel:
        assert [name for name in wheel.namelist() if "weights" in name] == []
    assert (folder / "weights" / "cogen_plugin_heavy" / "adapter_model.safetensors").is_file()


def test_moving_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogen.sharing.publishing.weights.WEIGHTS_IN_WHEEL", 100)
    folder = tree(tmp_path / "plugin", "heavy")
    (folder / "weights" / "cogen_plugin_heavy").mkdir(parents=True)
    with pytest.raises(SpecError, match="is there already"):
        set_apart(folder, print)
    assert (folder / "cogen_plugin_heavy" / "weights" / "adapter_model.safetensors").is_file()
    assert len(too_large(folder)) == 1
    notes: list[str] = []
    (folder / "weights" / "cogen_plugin_heavy").rmdir()
    with without_large(folder, notes.append) as copy:
        assert too_large(copy) == []
        assert (copy / "weights" / "cogen_plugin_heavy" / "adapter_model.safetensors").is_file()
    assert len(too_large(folder)) == 1
    set_apart(folder, notes.append)
    assert ["publishing will move them" in notes[0], "moved to" in notes[1]] == [True, True]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("parameters", "7", "the weights hold 5 parameters; the manifest says parameters = 7"),
        ("weights_digest", f'"sha256:{"0" * 64}"', "the weights digest is sha256:"),
        ("dtype", '"float16"', "the weights are float32; the manifest says dtype = float16"),
    ],
)
def test_weights_that_are_not_as_described(
    registry: Registry, users: Users, field: str, value: str, message: str
) -> None:
    """Nothing leaves: neither weights nor wheel."""
    team = publisher(registry, users, f"liar-{field.replace('_', '-')}")
    folder = tree(team.home / "plugin", "liar", apart=True)
    manifest = folder / "cogen_plugin_liar" / "expert.toml"
    manifest.write_text(re.sub(rf"(?m)^{field} = .*$", f"{field} = {value}", manifest.read_text(), count=1))
    seen = len(registry.seen)
    assert message in team.refused("publish", "plugin", "--yes")
    assert not [one for one in registry.seen[seen:] if one.startswith(("PUT", "POST"))]

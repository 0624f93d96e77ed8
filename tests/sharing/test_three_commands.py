"""From a PEFT adapter to a published expert by three commands, over a socket."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.hub import Registry, file, lfs
from support.tiny import save_adapter, save_model
from support.users import Users, publisher

from cogen.spec.expert import ExpertSpec
from cogen.spec.unfinished import unfinished

#: Of the tests: in a user's environment, `sys.executable` is the user's.
PYTHON = sys.executable


def hatched(folder: Path, place: Path) -> Path:
    """The wheel by the tree's own backend, without the isolation that needs an index."""
    out = place / "hatched"
    command = [PYTHON, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def uploaded(registry: Registry, owner: str, name: str, folder: Path) -> str:
    """A model folder as a repository; its commit."""
    hub = registry.hub(owner)
    repo = hub.create(name)
    lines = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            hub.upload(repo, data)
            lines.append(lfs(path.name, data))
        else:
            lines.append(file(path.name, data))
    return hub.committed(repo, *lines)


def test_three_commands(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The base lies in the registry; what only the publisher knows is filled in between the first two."""
    monkeypatch.setattr("cogen.sharing.publishing.publish.build_wheel", hatched)
    monkeypatch.setattr("cogen.sharing.publishing.publish.check_wheel", lambda wheel: 1)
    team = publisher(registry, users, "threes")
    oid = uploaded(registry, "threes", "base", save_model(tmp_path / "base", dtype="bfloat16"))
    save_adapter(team.home / "adapter", dtype="bfloat16")
    # 1
    made = team.ok("new", "threefold", "--from", "adapter", "--base", "hf://threes/base")
    assert made["model"]["base"]["revision"] == oid
    assert made["model"]["relation"] == "ffn"
    manifest = team.home / "cogen-plugin-threefold" / "src" / "cogen_plugin_threefold" / "expert.toml"
    text = manifest.read_text()
    assert set(made["todo"]) >= {"license", "summary"}
    text = text.replace("LicenseRef-TODO", "Apache-2.0").replace('languages = ["TODO"]', 'languages = ["en"]')
    text = text.replace('derivatives = "TODO"', 'derivatives = "allowed"')
    text = re.sub(r'"TODO[^"]*"', '"unknown"', text)
    manifest.write_text(text)
    assert unfinished(ExpertSpec.model_validate(tomllib.loads(text))) == []
    # 2
    checked = team.ok("check", "threefold")
    assert checked["passed"] is True
    # 3
    answer = team.ok("publish", "cogen-plugin-threefold", "--yes")
    assert (answer["state"], answer["weights"]) == (
        "released",
        {"threefold": "package://cogen_plugin_threefold/weights"},
    )
    with zipfile.ZipFile(next((team.home / "cogen-plugin-threefold" / "dist").glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if "dist-info" not in name}
    inside = {"__init__.py", "expert.toml", "weights/adapter_config.json", "weights/adapter_model.safetensors"}
    assert names == {f"cogen_plugin_threefold/{name}" for name in inside}
    user = users("reader")
    user.ok("login", registry.url, "--read-only")
    assert user.ok("add", "threefold")["key"] == answer["key"]


def test_a_wrong_base_stops_the_publishing(
    registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The base is on this machine: it is compared with what the manifest says before anything leaves."""
    monkeypatch.setattr("cogen.sharing.publishing.publish.build_wheel", hatched)
    monkeypatch.setattr("cogen.sharing.publishing.publish.check_wheel", lambda wheel: 1)
    team = publisher(registry, users, "wrongs")
    uploaded(registry, "wrongs", "base", save_model(tmp_path / "base", dtype="bfloat16"))
    save_adapter(team.home / "adapter", dtype="bfloat16")
    team.ok("new", "wrongful", "--from", "adapter", "--base", "hf://wrongs/base")
    manifest = next(team.home.glob("cogen-plugin-wrongful/src/*/expert.toml"))
    right = manifest.read_text()
    head, table, tail = right.partition("[model.base]")
    digest = re.sub(r'weights_digest = "sha256:\w+"', f'weights_digest = "sha256:{"1" * 64}"', tail, count=1)
    for text, message in (
        (head + table + digest, "the tensors of base are not the promised ones"),
        (right.replace("context_length = 1024", "context_length = 4096"), "config.json allows 1,024 tokens"),
        (right.replace('"LlamaForCausalLM"', '"MistralForCausalLM"'), "config.json names LlamaForCausalLM"),
        (right.replace("vocab_size = 300", "vocab_size = 301"), "has 300 entries, not 301"),
    ):
        manifest.write_text(text)
        seen = len(registry.seen)
        assert message in team.refused("publish", "cogen-plugin-wrongful", "--yes")
        assert not [one for one in registry.seen[seen:] if one.startswith(("PUT", "POST"))]

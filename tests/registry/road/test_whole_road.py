"""From two publishers to one composite, with the tools that people have and a registry in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from support.experts import adapter_tree, base_of
from support.served import Served
from support.trees import built

from cogen import trust

PLUGINS = Path(__file__).parents[3] / "plugins"


def test_publish_search_add_verify_fuse(served: Served, machines: Any) -> None:
    """One team has cogen, a key and its weights apart; the other has the Hub's client, twine and uv alone."""
    bare, team, user = machines("bare"), machines("team"), machines("user")

    # -- a public base and an expert's weights, by the unmodified command line of the Hub (which writes by Xet)
    hub = {"HF_ENDPOINT": served.url, "HF_TOKEN": served.token("bare")}
    model = tiny.save_model(bare.home / "base")
    hf = Path(sys.executable).with_name("hf")
    bare.run(hf, "upload", "bare/tiny-base", model, **hub)
    base = base_of(model, "hf://bare/tiny-base", revision_of(served, "bare/tiny-base"))
    tree = adapter_tree(bare.home / "tide", "tide", base=base, seed=1, title="Tides and harbours")
    bare.run(hf, "upload", "bare/tide", tree / "weights", **hub)
    assert not list((served.root / "xet").glob("*/xorbs/*"))
    assert list((served.root / "xet").glob("*/known/*"))  # so it was Xet that brought them

    # -- wheels by unmodified twine and uv, unsigned
    pinned: dict[str, Any] = {"source": "hf://bare/tide", "revision": revision_of(served, "bare/tide")}
    wheels = {}
    for version in ("1.0", "1.1"):
        tree = adapter_tree(bare.home / version, "tide", version, base=base, title="Tides and harbours", **pinned)
        wheels[version] = built(tree, bare.home / "dist")
    bare.run(
        sys.executable,
        "-m",
        "twine",
        "upload",
        "--non-interactive",
        "--repository-url",
        f"{served.url}/legacy/",
        "-u",
        "__token__",
        "-p",
        served.token("bare"),
        wheels["1.0"],
    )
    bare.run(
        sys.executable,
        "-m",
        "uv",
        "publish",
        "--publish-url",
        f"{served.url}/legacy/",
        wheels["1.1"],
        UV_PUBLISH_TOKEN=served.token("bare"),
    )

    # -- the other team: one command, signed, weights in a repository that it pins
    reported = team.cogen("login", served.url, "--token", served.token("team"), "--new-key")
    key = trust.fingerprint((team.home / "config" / "keys" / "key.pub").read_text())
    assert reported["key"] == key
    adapter_tree(team.home / "grid", "grid", base=base, seed=2, title="Power grids and their operators")
    published = team.cogen("publish", "grid", "--yes")
    assert (published["state"], published["key"], published["publisher"]) == ("released", key, "team")
    assert published["checks"] >= 10
    assert published["weights"]["grid"] == f"hf://team/grid@{revision_of(served, 'team/grid')}"

    # -- an integrator, who has never heard of either
    user.cogen("login", served.url, "--read-only")
    found = {one["id"]: one for words in ("power grids", "harbours") for one in user.cogen("search", words)["experts"]}
    assert {id: (one["publisher"], one["version"], one["signed"]) for id, one in found.items()} == {
        "grid": ("team", "1.0", True),
        "tide": ("bare", "1.1", False),
    }
    assert user.cogen("add", "grid")["key"] == key
    refused = user.run(user.python, "-m", "cogen", "add", "tide", check=False)
    assert "cogen-plugin-tide 1.1 of bare is not signed" in " ".join(refused.split())
    assert "--allow-unsigned" in refused
    added = user.cogen("add", "tide", "--allow-unsigned")
    assert (added["key"], added["installed"]) == (None, True)
    findings = {one["name"]: one for one in user.cogen("verify", "grid", "tide")["findings"]}
    assert all(one["ok"] for one in findings.values())
    assert (findings["cogen-plugin-grid"]["publisher"], findings["cogen-plugin-grid"]["key"]) == ("team", key)

    # -- ... and the composite
    fused = user.cogen(
        "fuse",
        "grid",
        "tide",
        "--strategy",
        "merge",
        "--method",
        "task_arithmetic",
        "--scale",
        "0.5",
        "--level",
        "none",
        "-o",
        "composite",
    )
    sources = json.loads((user.home / "composite" / "cogen.lock").read_text())["sources"]
    assert {id: (one["publisher"], one["key"], one["version"]) for id, one in sources.items()} == {
        "grid": ("team", key, "1.0"),
        "tide": ("bare", None, "1.1"),
    }
    (finding,) = user.cogen("verify", "composite")["findings"]
    assert finding["ok"]
    assert any(f"signed by team, key {key}" in note for note in finding["notes"])
    assert any("of bare, not signed" in note for note in finding["notes"])
    assert fused["weights_digest"] == open_digest(user.home / "composite")
    weights = user.home / "composite" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    output = user.run(user.python, "-m", "cogen", "verify", "composite", check=False)
    assert "model.safetensors: altered" in output
    assert served.command("check").endswith("all whole\n")


@pytest.mark.slow
@pytest.mark.network
def test_the_reference_experts(served: Served, machines: Any, tmp_path: Path) -> None:
    """Two of 135 million parameters, whose base lies on the package index: the registry looks for it there."""
    team, bare, user = machines("authors"), machines("others"), machines("reader")
    # the package index that pip is configured for, and weights that this machine has already
    index = {"PIP_CONFIG_FILE": ""} | {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "COGEN_CACHE", "HOME"))
    }
    team.cogen("login", served.url, "--token", served.token("authors"), "--new-key")
    for name in ("power", "clinical"):
        shutil.copytree(PLUGINS / f"cogen-plugin-{name}", tmp_path / name)
    published = team.cogen("publish", str(tmp_path / "power"), "--yes", "--wait", "300", **index)
    assert published["state"] == "released"
    bare.run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", bare.home / "dist", tmp_path / "clinical", **index
    )
    bare.run(
        sys.executable,
        "-m",
        "uv",
        "publish",
        "--publish-url",
        f"{served.url}/legacy/",
        *(bare.home / "dist").glob("*.whl"),
        UV_PUBLISH_TOKEN=served.token("others"),
    )

    user.cogen("login", served.url, "--read-only")
    assert user.cogen("add", "power")["publisher"] == "authors"
    assert user.cogen("add", "clinical", "--allow-unsigned")["publisher"] == "others"
    build = ["--strategy", "merge", "--scale", "0.6", "--level", "none", "-o", "composite"]
    user.cogen("fuse", "power", "clinical", *build, **index)
    sources = json.loads((user.home / "composite" / "cogen.lock").read_text())["sources"]
    assert {id: (one["publisher"], one["key"]) for id, one in sources.items()} == {
        "power": ("authors", published["key"]),
        "clinical": ("others", None),
    }
    (finding,) = user.cogen("verify", "composite")["findings"]
    assert finding["ok"]


def revision_of(served: Served, repository: str) -> str:
    return str(served.get(f"/api/models/{repository}").json()["sha"])


def open_digest(folder: Path) -> str:
    from cogen.checkpoints.model import open_folder

    return open_folder(folder).weights_digest

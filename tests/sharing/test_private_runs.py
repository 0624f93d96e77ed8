"""`cogen publish` looks for private text in everything that leaves, and stops where it cannot look."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support.hospital import english
from support.hub import Registry
from support.training import agree, recipe_document, source
from support.trees import tree
from support.users import Users, publisher

from cogen.sharing.publishing.weights import without_large

RUN = " ".join(english(3).split()[2:12])


def ward(folder: Path, id: str, **options: Any) -> Path:
    """A plugin with a recipe beside it, and texts that stay at home."""
    place = tree(folder, id, **options)
    (place / "texts").mkdir()
    for number in range(20):
        (place / "texts" / f"{number}.txt").write_text(english(number))
    document = recipe_document({}, id) | {"base": "smollm2-135m"}
    document["corpus"]["sources"] = [source(heldout=False, leaves="figures", personal_data="present")]
    agree(document["card"], document["corpus"]["sources"])
    (place / "recipe.toml").write_text(tomlkit.dumps(document))
    return place


def described(place: Path, text: str) -> None:
    """Into pyproject.toml: from there it goes into the wheel's METADATA alone."""
    document = tomlkit.parse((place / "pyproject.toml").read_text()).unwrap()
    document["project"]["description"] = text
    (place / "pyproject.toml").write_text(tomlkit.dumps(document))


def writes(registry: Registry) -> list[str]:
    return [seen for seen in registry.seen if not seen.startswith("GET ")]


@pytest.mark.usefixtures("quick")
def test_nothing_private_is_sent(registry: Registry, users: Users) -> None:
    """In the package, in what describes it, and in weights that are uploaded apart: refused, and nothing was sent."""
    team = publisher(registry, users, "ward-team")
    place = ward(team.home / "plugin", "ward", apart=True)
    before = writes(registry)
    files = {"cogen_plugin_ward/hooks.py": f"# {RUN}\n", "weights/README.md": f"{RUN}\n"}
    files["weights/tokenizer_config.json"] = json.dumps({"chat_template": RUN})
    for name, content in files.items():
        (place / name).write_text(content)
        for options in (("--yes",), ("--dry-run",)):
            refused = team.refused("publish", "plugin", *options)
            assert f"private runs: {name.removeprefix('weights/')} holds " in refused
            assert RUN not in refused
        (place / name).unlink()
    described(place, RUN)
    assert ".dist-info/METADATA holds 3 runs" in team.refused("publish", "plugin", "--yes")
    assert writes(registry) == before
    described(place, "The ward")
    answer = team.ok("publish", "plugin", "--yes")
    assert answer["state"] == "released"


@pytest.mark.usefixtures("quick")
def test_check_looks_into_the_wheel(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cogen check FOLDER`, too: METADATA is in no folder."""
    monkeypatch.setattr("cogen.sharing.publishing.check.wheel_checks", lambda _: {"looked": []})
    team = publisher(registry, users, "looked")
    place = ward(team.home / "plugin", "looked")
    described(place, RUN)
    checked = team("check", "plugin")
    assert "experts" in checked.data, checked
    (found,) = checked.data["experts"]["looked"]
    assert (checked.code, checked.data["passed"], found["ok"]) == (1, False, False)
    assert ".dist-info/METADATA holds 3 runs" in found["message"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gone", ["texts", "files", "recipe", "damaged"])
def test_what_cannot_be_compared(registry: Registry, users: Users, gone: str) -> None:
    """Fail closed: text that is not here, or a recipe that cannot be read, stops it; one option says that it may go."""
    team = publisher(registry, users, f"without-{gone}")
    place = ward(team.home / "plugin", f"without-{gone}")
    if gone == "texts":
        shutil.rmtree(place / "texts")
    elif gone == "files":
        for file in (place / "texts").iterdir():
            file.unlink()
    elif gone == "recipe":
        (place / "recipe.toml").write_text("[corpus\n")
    else:
        (place / "texts" / "3.txt").write_bytes(b"\x00\xff\x00\xd8" * 40)
    before = writes(registry)
    refused = team.refused("publish", "plugin", "--yes")
    assert "private runs: not checked, the private text cannot be read: " in refused
    assert "--texts-elsewhere" in refused
    assert writes(registry) == before
    assert team.ok("publish", "plugin", "--yes", "--texts-elsewhere")["state"] == "released"


@pytest.mark.usefixtures("quick")
def test_a_project_without_private_text(registry: Registry, users: Users) -> None:
    """Neither recipe nor texts: nothing to compare, and nothing to say about it."""
    team = publisher(registry, users, "without-private")
    tree(team.home / "plugin", "plain")
    assert team.ok("publish", "plugin", "--yes")["state"] == "released"


@pytest.mark.parametrize("damaged", [False, True])
def test_the_copy_for_a_dry_run_holds_no_private_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Where weights are too large the tree is copied beside itself; a run that is killed leaves that copy there."""
    monkeypatch.setattr("cogen.sharing.publishing.weights.WEIGHTS_IN_WHEEL", 100)
    place = ward(tmp_path / "plugin", "copied")
    (place / "private").mkdir()
    (place / "private" / "test.jsonl").write_text(json.dumps({"text": english(99)}))
    if damaged:
        (place / "recipe.toml").write_text("[corpus\n")
    with without_large(place, print) as copy:
        assert copy != place
        assert not any((copy / name).exists() for name in ("texts", "private"))
        assert (copy / "pyproject.toml").is_file()
    assert (place / "texts" / "3.txt").is_file()

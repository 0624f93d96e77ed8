"""`cogen publish`: interrupts, quarantine, what is refused, and the Hub and PyPI."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from support.hub import Registry
from support.trees import tree
from support.users import Users, publisher, token

from cogen.errors import SpecError
from cogen.scaffold import create
from cogen.sharing.publishing.weights import check_trained
from cogen.spec.expert import ExpertSpec


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "place",
    [
        "hub.pin",
        "upload.upload_wheel",
        "upload.upload_signature",
        "upload.wait_until_visible",
    ],
)
def test_an_interrupted_publish_goes_on(
    registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Weights first: whenever it stops, nobody sees half of it, and the same command ends it."""
    name = f"half-{place.partition('.')[2].replace('_', '-')}"
    team = publisher(registry, users, name)
    tree(team.home / "plugin", name, apart=True)
    user = users("user")
    user.ok("login", registry.url, "--read-only")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"cogen.sharing.publishing.publish.{place}", stop)
        assert team("publish", "plugin", "--yes").code == 130
    output = user("add", name)
    assert (output.code == 0) == (place == "upload.wait_until_visible"), output.error
    answer = team.ok("publish", "plugin", "--yes")
    assert answer["state"] == "released"
    assert user.ok("add", name)["key"] == answer["key"]
    assert [path.name for path in team.home.joinpath("plugin").iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("quick")
def test_quarantine_says_why(registry: Registry, users: Users) -> None:
    """A wheel that pins weights which nobody has stays invisible; the publisher hears why, others see nothing."""
    team = publisher(registry, users, "waits")
    folder = tree(team.home / "plugin", "fusion", apart=True)
    manifest = folder / "cogen_plugin_fusion" / "expert.toml"
    manifest.write_text(
        manifest.read_text().replace(
            'source = "file://weights"', f'source = "hf://waits/none"\nrevision = "{"1" * 40}"'
        )
    )
    output = team("publish", "plugin", "--yes", "--wait", "0")
    assert output.code == 1
    assert output.data["state"] == "quarantined"
    assert "hf://waits/none is not in this registry" in output.data["reason"]
    assert "in quarantine and not visible" in output.error
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    assert "has no expert fusion" in user.refused("add", "fusion")


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_published(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "mistakes")
    tree(team.home / "plugin", "mine")
    assert "confirmation required" in team.refused("publish", "plugin", code=3)
    assert "0 experts have weights" in team.refused("publish", "plugin", "--yes", "--weights", "a/b", code=3)
    dry = team.ok("publish", "plugin", "--dry-run")
    assert dry["state"] == "checked"
    assert "has no expert mine" in team.refused("add", "mine")
    team.ok("publish", "plugin", "--yes")
    tree(team.home / "plugin", "mine", summary="Other words")
    shutil.rmtree(team.home / "plugin" / "dist")
    assert "published before with other content" in team.refused("publish", "plugin", "--yes")
    other = publisher(registry, users, "thief")
    tree(other.home / "plugin", "mine", "2.0")
    assert "belongs to another publisher" in other.refused("publish", "plugin", "--yes")
    reader = users("reader")
    reader.ok("login", registry.url, "--read-only")
    tree(reader.home / "plugin", "theirs")
    assert "no token was sent" in reader.refused("publish", "plugin", "--yes")


@pytest.mark.usefixtures("quick")
def test_to_the_hub_alone(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry speaks the Hub's protocol, so it stands for the Hub here: signed weights, pinned, and no wheel."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", registry.url)
    monkeypatch.setenv("HF_TOKEN", token(registry, "hubber"))
    team = users("hubber")
    folder = tree(team.home / "plugin", "hubbed", apart=True)
    answer = team.ok("publish", "plugin", "--to", "hub", "--yes")
    assert answer["weights"]["hubbed"].startswith("hf://hubber/hubbed@")
    assert 'source = "hf://hubber/hubbed"' in (folder / "cogen_plugin_hubbed" / "expert.toml").read_text()
    assert (team.home / "config" / "keys" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert not (folder / "dist").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_to_pypi_by_the_users_own_twine(registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry speaks PyPI's protocol, too."""
    for name, value in {
        "TWINE_REPOSITORY_URL": f"{registry.url}/legacy/",
        "TWINE_USERNAME": "__token__",
        "TWINE_PASSWORD": token(registry, "pypier"),
        "TWINE_NON_INTERACTIVE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    team = users("pypier")
    tree(team.home / "plugin", "pypied")
    team.ok("publish", "plugin", "--to", "pypi", "--yes")
    assert "POST /legacy/" in registry.seen
    assert "cogen-plugin-pypied" in team("search", "--registry", registry.url, "pypied").data["experts"][0]["project"]


def test_an_adapter_that_changes_nothing(tmp_path: Path) -> None:
    """What `cogen new` makes is its base, and is not published; one number that is not zero is enough."""
    base = "smollm2-135m-instruct"
    folder = create("law", tmp_path / "law", base=base, title="Law", publisher="Me", license="MIT")
    (package,) = (folder / "src").iterdir()
    spec = ExpertSpec.model_validate(tomllib.loads((package / "expert.toml").read_text()))
    with pytest.raises(SpecError, match="law: the adapter changes nothing") as caught:
        check_trained(spec, folder)
    assert caught.value.hint == "train it first: cogen train recipe.toml"
    file = package / "weights" / "adapter_model.safetensors"
    tensors = load_file(file)
    next(tensor for name, tensor in tensors.items() if "lora_B" in name)[3] = 1e-9
    save_file(tensors, file)
    check_trained(spec, folder)

"""`route.json` and its centroids: round trips, damage, and experts that have moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import carry_out

from cogen.errors import DigestError, PlanError, SpecError, UsageError
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.route import check_unmoved, is_route, read_route
from cogen.fusion.route.centroids import CENTROIDS, read_centroids
from cogen.fusion.route.manifest import ROUTE, RouteManifest, write_route
from cogen.fusion.route.router import open_router
from cogen.host import Host


def build(machine: Host, folder: Path, *ids: str) -> RouteManifest:
    """A route that is not measured."""
    recipe = FuseRecipe(experts=dict.fromkeys(ids, 1.0), strategy="route", level="none")
    found: RouteManifest = carry_out(machine, recipe, folder).details.manifest
    return found


@pytest.fixture
def machine(world: Any, host: Any) -> Host:
    found: Host = host(world.expert("e1", 1), world.expert("e2", 2))
    return found


@pytest.fixture
def folder(machine: Host, tmp_path: Path) -> Path:
    build(machine, tmp_path / "route")
    return tmp_path / "route"


def test_round_trip(machine: Host, folder: Path, tmp_path: Path) -> None:
    """What is read is what was written, and written again it is the same bytes."""
    manifest = read_route(folder)
    assert [expert.id for expert in manifest.experts] == ["e1", "e2"]
    assert manifest.fallback == machine.expert("e1").spec.model.base
    assert manifest.experts[0].weights_digest == machine.expert("e1").spec.model.weights_digest
    write_route(manifest, tmp_path)
    assert (tmp_path / ROUTE).read_bytes() == (folder / ROUTE).read_bytes()
    assert is_route(folder)
    assert not is_route(tmp_path / "nowhere")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CENTROIDS, ROUTE]


def test_the_order_of_the_wishes_changes_nothing(machine: Host, folder: Path, tmp_path: Path) -> None:
    """Every file has the same bytes."""
    build(machine, tmp_path / "turned", "e2", "e1")
    for path in folder.iterdir():
        assert (tmp_path / "turned" / path.name).read_bytes() == path.read_bytes()


def test_experts_without_a_common_base_have_no_fallback(world: Any, host: Any, tmp_path: Path) -> None:
    """Two bases are none."""
    other = world.expert("e3", 3, base=world.base(8, name="other"))
    mixed = host(world.expert("e1", 1), other)
    manifest = build(mixed, tmp_path / "mixed")
    assert manifest.fallback is None
    router = open_router(tmp_path / "mixed", manifest)
    assert router.choose(["anything"])[0].scores.keys() == {"e1", "e3"}


def test_tampered_centroids_are_refused(folder: Path) -> None:
    """One byte decides where queries go."""
    manifest = read_route(folder)
    data = bytearray((folder / CENTROIDS).read_bytes())
    data[-1] ^= 1
    (folder / CENTROIDS).write_bytes(data)
    with pytest.raises(DigestError, match="is not the file that was published"):
        read_centroids(folder, manifest)


def test_centroids_of_another_route_are_refused(machine: Host, folder: Path, tmp_path: Path) -> None:
    """Even with their own digest."""
    alone = build(machine, tmp_path / "alone", "e1")
    manifest = read_route(folder).model_copy(update={"centroids": alone.centroids})
    with pytest.raises(SpecError, match="is not of this route"):
        read_centroids(tmp_path / "alone", manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "is not a route: it is not JSON: Expecting"),
        ("[]", "is not a route: it is not a JSON object"),
        ({"version": 3}, "is a route of version 3, this CoGen reads version 2"),
        ({"experts": []}, "is not a route: experts: "),
        ({"speed": 3}, "is not a route: speed: Extra inputs"),
        ({"centroids": "sha256:0"}, "is not a route: centroids: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, change: Any, message: str) -> None:
    """With the file, the place and a hint."""
    path = folder / ROUTE
    path.write_text(change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SpecError) as caught:
        read_route(folder)
    assert str(caught.value).startswith(f"{path} {message}")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_experts_stand_there_once_and_sorted(folder: Path) -> None:
    """Whoever edits the file is told."""
    value = json.loads((folder / ROUTE).read_text())
    value["experts"].reverse()
    (folder / ROUTE).write_text(json.dumps(value))
    with pytest.raises(SpecError, match="experts are sorted by id"):
        read_route(folder)


@pytest.mark.parametrize("what", ["spec", "file", "weights"])
def test_an_expert_that_has_moved_is_refused(machine: Host, folder: Path, what: str) -> None:
    """Any of the three digests; an expert that is gone is another reason."""
    manifest = read_route(folder)
    assert check_unmoved(machine, manifest).keys() == {"e1", "e2"}
    first = manifest.experts[0].model_copy(update={f"{what}_digest": "sha256:" + "1" * 64})
    with pytest.raises(PlanError, match=f"the {what} digest of e1 .* is no longer that of the route"):
        check_unmoved(machine, manifest.model_copy(update={"experts": (first, manifest.experts[1])}))


def test_an_expert_that_is_gone_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it back."""

    def gone(id: str) -> Any:
        raise UsageError(f"no expert {id!r} is installed")

    empty = Host()
    monkeypatch.setattr(empty, "expert", gone)
    with pytest.raises(PlanError, match="needs the expert e1, which is not installed") as caught:
        check_unmoved(empty, read_route(folder))
    assert caught.value.hint == "pip install cogen-plugin-e1==1.0"


def test_a_foreign_folder_stays(machine: Host, tmp_path: Path) -> None:
    """A route replaces a route, never somebody's files."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(UsageError, match="exists and was not written by CoGen"):
        build(machine, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    build(machine, tmp_path / "route")
    assert len(build(machine, tmp_path / "route", "e2").experts) == 1


def test_the_router_of_a_folder_is_that_of_the_build(folder: Path) -> None:
    """Its samples' own texts go to an expert, general text to the base."""
    router = open_router(folder, read_route(folder))
    found = router.choose(["e1train0word0 e1train0word1 e1train0word2", "e2train0word0 e2train0word1 e2train0word2"])
    assert [choice.expert for choice in found] == ["e1", "e2"]
    assert router.choose(["The house stood at the end of the road."])[0].expert == "base"
    assert read_centroids(folder, read_route(folder))["e1"].dtype == torch.float32

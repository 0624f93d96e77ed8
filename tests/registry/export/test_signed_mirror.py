"""A mirror carries the registry's signed metadata: an old or frozen one, and one that leaves things out, is found."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hosting import hosted
from support.hub import Registry, running
from support.naming import Ring

from cogen import trust
from cogen.remote import Client
from cogen.sharing.names import Names, open_names
from cogen.trust import TrustError
from cogen.trust.metadata.project import bytes_of
from cogen.trust.pins import Pin, update
from cogen.trust.registries import Registry as Known
from cogen_registry.export import export
from cogen_registry.metadata import signer
from cogen_registry.names.renewal import Renewal

PROJECT = "cogen-plugin-power"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("COGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    with running(tmp_path / "registry", verify_elsewhere=False) as registry:
        yield Ring(registry, tmp_path)


def names(url: str) -> Names:
    return open_names(Client(Known(url)))


def exported(registry: Registry, target: Path) -> None:
    """The signed part of an export: the projects of these tests have no wheels behind them."""
    from cogen_registry.mirror.metadata import write_metadata
    from cogen_registry.mirror.tree import MARK, Tree

    with Tree(target) as tree:
        write_metadata(registry.service, tree)
        tree.put([MARK], b"{}")


def test_the_same_as_the_registry(ring: Ring, tmp_path: Path) -> None:
    """Projects, keys and identity: what was pinned at the one counts at the other."""
    ring.publish("power")
    ring.publish("wind", team="rival")
    exported(ring.registry, tmp_path / "mirror")
    with hosted(tmp_path / "mirror") as url:
        here, there = names(ring.registry.url), names(url)
        assert there.identity == here.identity
        for project in (PROJECT, "cogen-plugin-wind"):
            assert there.releases(project) == here.releases(project)
            assert there.documents(project) == here.documents(project)
        assert there.releases("cogen-plugin-none") == []


def test_one_that_is_not_brought_up_to_date(ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with its timestamp, whoever asks."""
    monkeypatch.setitem(signer.VALID, "timestamp", datetime.timedelta(seconds=-1))
    renewal = ring.registry.service.components.get(Renewal)
    assert renewal is not None
    renewal.close()
    key = ring.key("team")
    assert key.exists()
    from support import shelf

    shelf.put(ring.registry.service, "power")
    exported(ring.registry, tmp_path / "mirror")
    with hosted(tmp_path / "mirror") as url, pytest.raises(TrustError, match=r"signed is too old: timestamp"):
        names(url)


def test_one_that_was_set_back(ring: Ring, tmp_path: Path) -> None:
    ring.publish("power")
    exported(ring.registry, tmp_path / "mirror")
    shutil.copytree(tmp_path / "mirror", tmp_path / "old")
    ring.publish("power", "1.1")
    exported(ring.registry, tmp_path / "mirror")
    with hosted(tmp_path / "mirror") as url:
        assert [one.version for one in names(url).releases(PROJECT)] == ["1.0", "1.1"]
        shutil.rmtree(tmp_path / "mirror")
        shutil.copytree(tmp_path / "old", tmp_path / "mirror")
        with pytest.raises(TrustError, match="shows an older state"):
            names(url)


def test_a_mirror_behind_the_registry(ring: Ring, tmp_path: Path) -> None:
    """Within its day it may be: but not behind what this user saw of a project, wherever that was."""
    ring.publish("power")
    exported(ring.registry, tmp_path / "mirror")
    ring.publish("power", "1.1")
    newest = names(ring.registry.url)
    chain = newest.chain(PROJECT)
    assert chain is not None
    with hosted(tmp_path / "mirror") as url:
        assert [one.version for one in names(url).releases(PROJECT)] == ["1.0"]
        update(newest.identity, projects={PROJECT: Pin(bytes_of(chain.root), chain.targets.signed.version)})
        with pytest.raises(TrustError, match="is older"):
            names(url).chain(PROJECT)


def test_a_revocation_that_is_left_out(ring: Ring, tmp_path: Path) -> None:
    """A file that the metadata names and the mirror has not; and metadata of before for somebody who knows of it."""
    ring.publish("power")
    exported(ring.registry, tmp_path / "mirror")
    key = trust.fingerprint(trust.public_key(ring.key("team")))
    Client(ring.client("team").registry).send("POST", f"/api/v1/keys/{key}/revoke")
    with hosted(tmp_path / "mirror") as url:
        assert names(url).chain(PROJECT) is not None  # for a day nobody can know
        with pytest.raises(TrustError, match="was revoked"):
            names(ring.registry.url).chain(PROJECT)
        with pytest.raises(TrustError, match="was revoked"):  # who heard of it once keeps it in mind
            names(url).chain(PROJECT)
        exported(ring.registry, tmp_path / "mirror")
        for path in (tmp_path / "mirror").rglob("*.revocations.json"):
            path.unlink()
        with pytest.raises(TrustError, match="leaves out signed metadata"):
            names(url)


def test_the_command_writes_it(ring: Ring, tmp_path: Path) -> None:
    """With everything else, and the same bytes as the service answers."""
    import requests

    done: Any = export(ring.registry.service.settings, tmp_path / "mirror")
    assert done.files > 0
    with requests.Session() as session:
        session.trust_env = False
        for path in (tmp_path / "mirror" / "tuf").rglob("*.json"):
            relative = path.relative_to(tmp_path / "mirror").as_posix()
            assert session.get(f"{ring.registry.url}/{relative}", timeout=30).content == path.read_bytes(), relative

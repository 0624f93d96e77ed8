"""Weights come first: a release whose pinned weights are not known stays invisible."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support import weights
from support.manifests import folder_digest
from support.wheels import build

from cogen_registry.admission import verifier as verifying
from cogen_registry.admission.pins import Pin
from cogen_registry.admission.releases import recheck, recheck_waiting
from cogen_registry.admission.verifier import Verifier, elsewhere
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Commit, Entry, Expert, Release, Repository, Verified
from cogen_registry.errors import Refused
from cogen_registry.service import Service
from cogen_registry.settings import Settings

Publishers = Callable[..., Principal]
Upload = Callable[..., Release]
OID = "a" * 40
FILES = {
    **weights.base(),
    "README.md": b"# Base\n",
    ".gitattributes": b"x\n",
    "notes/CHANGES.md": b"not taken",
    "LICENSE": b"Apache\n",
    "sub/vocab.txt": b"a\n",
}
TAKEN = {name: data for name, data in FILES.items() if name not in (".gitattributes", "notes/CHANGES.md")}


def base(source: str, digest: str, **more: Any) -> dict[str, Any]:
    return {"base": {"source": source, "file_digest": digest} | more}


def commit(service: Service, owner: Principal, name: str = "Base", files: dict[str, bytes] = FILES) -> None:
    """What the weights room writes for a commit."""
    with service.sessions.write() as session:
        repository = Repository(publisher_id=owner.id, name=name, key=f"{owner.name}/{name.lower()}")
        entries = [
            Entry(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data), oid="x", lfs=False)
            for path, data in files.items()
        ]
        session.add(Commit(repository=repository, oid=OID, entries=entries))
    for data in files.values():
        with service.blobs.stage() as staged:
            staged.write(data)
            staged.keep()


def state(service: Service, release: Release) -> tuple[str, str | None, list[bool]]:
    with service.sessions.read() as session:
        row = session.get(Release, release.id)
        assert row is not None
        shown = session.scalars(select(Expert.current).where(Expert.release_id == release.id))
        return row.state, row.reason, list(shown)


@pytest.mark.parametrize("source", [f"hf://team/Base@{OID}", f"hf://Team/base@{OID}"])
def test_a_commit_releases_what_waits_for_it(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path, source: str
) -> None:
    """The digest is of the files that a source ``hf://`` takes, and no others."""
    team = publisher()
    release = upload(team, build(tmp_path, **base(source, folder_digest(TAKEN))))
    assert state(service, release) == ("quarantined", f"{source} is not in this registry", [False])
    recheck_waiting(service, "team/other")
    commit(service, team)
    assert state(service, release)[0] == "quarantined"
    before = service.serial
    recheck_waiting(service, "team/base")
    assert state(service, release) == ("released", None, [True])
    assert service.serial == before + 1
    assert recheck(service, release.id)
    assert service.serial == before + 1


def test_weights_that_are_here_already_release_at_once(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    team = publisher()
    commit(service, team)
    pinned = base("hf://team/base", folder_digest(TAKEN), revision=OID)
    assert state(service, upload(team, build(tmp_path, **pinned))) == ("released", None, [True])
    digest = "sha256:" + hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    one = base(f"hf://team/base@{OID}/model.safetensors", digest, format="gguf")
    assert upload(team, build(tmp_path, version="2.0", **one)).state == "released"
    with pytest.raises(Refused, match="is one file, and safetensors is a folder of files"):
        upload(team, build(tmp_path, version="3.0", **base(one["base"]["source"], digest)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights_digest", "sha256:" + "3" * 64, "the weights digest is sha256:"),
        ("dtype", "float16", "the weights are float32; the manifest says dtype = float16"),
        ("format", "peft", "these weights are a whole model; the manifest says format = peft"),
    ],
)
def test_weights_that_are_not_as_described_are_refused(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path, field: str, value: str, message: str
) -> None:
    """The bytes are the ones that were pinned, and what the manifest says of them is not so: nobody could open them."""
    team = publisher()
    commit(service, team)
    described = base("hf://team/base", folder_digest(TAKEN), revision=OID, **{field: value})
    with pytest.raises(Refused, match=message) as refused:
        upload(team, build(tmp_path, **described))
    assert refused.value.status == 400
    assert (
        upload(team, build(tmp_path, **base("hf://team/base", folder_digest(TAKEN), revision=OID))).state == "released"
    )


def test_large_weights_are_read_by_the_verifier(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release waits meanwhile; what is wrong keeps it there, what is right is not read twice."""
    monkeypatch.setattr("cogen_registry.admission.releases.AT_ONCE", 10)
    team = publisher()
    commit(service, team)
    good = base("hf://team/base", folder_digest(TAKEN), revision=OID)
    wrong = base("hf://team/base", folder_digest(TAKEN), revision=OID, weights_digest="sha256:" + "3" * 64)
    releases = [upload(team, build(tmp_path, version=version, **one)) for version, one in (("1", good), ("2", wrong))]
    assert [state(service, one)[0] for one in releases] == ["quarantined", "quarantined"]
    assert "bytes) is being compared with its manifest" in str(state(service, releases[0])[1])
    Verifier(service).look()
    assert state(service, releases[0])[0] == "released"
    assert "is not what the manifest says: the weights digest is" in str(state(service, releases[1])[1])
    assert upload(team, build(tmp_path, version="3", **good)).state == "released"


def test_other_weights_than_promised_keep_it_in_quarantine(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    team, wanted = publisher(), "sha256:" + "1" * 64
    commit(service, team)
    release = upload(team, build(tmp_path, **base(f"hf://team/base@{OID}", wanted)))
    found = state(service, release)
    assert found[0] == "quarantined"
    assert found[1] == f"hf://team/base@{OID} has digest {folder_digest(TAKEN)} here, {wanted} was promised"
    missing = upload(team, build(tmp_path, version="2.0", **base(f"hf://team/base@{OID}/none.json", wanted)))
    assert state(service, missing)[1] == f"hf://team/base@{OID}/none.json is not in this registry"


def test_weights_in_a_wheel_of_this_registry_are_found(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    team = publisher()
    upload(team, build(tmp_path, "ground"))
    inside = "cogen_plugin_ground/base"
    both = dict(weights.base())
    where = f"cogen-plugin-ground==1.0.0/{inside}"
    matrix, config = both["model.safetensors"], both["config.json"]
    joined = hashlib.sha256(config + matrix).hexdigest()
    for version, source, digest, wanted in (
        ("1", f"pypi://{where}/", folder_digest(both), "released"),
        ("2", f"pypi://{where}/model.safetensors", "sha256:" + hashlib.sha256(matrix).hexdigest(), "gguf"),
        ("3", f"pypi://{where}/config.json,{where}/model.safetensors", f"sha256:{joined}", "gguf"),
        ("4", f"pypi://{where}/none", f"sha256:{joined}", "quarantined"),
        ("5", f"pypi://{where}/", f"sha256:{joined}", "quarantined"),
        ("6", f"pypi://cogen-plugin-ground==2.0/{inside}/", folder_digest(both), "quarantined"),
    ):
        # Of files, only a GGUF is a base: what it dequantizes to is not compared here.
        more = {"format": "gguf"} if wanted == "gguf" else {}
        state = upload(team, build(tmp_path, "power", version, **base(source, digest, **more))).state
        assert state == wanted.replace("gguf", "released")


def test_a_quarantined_wheel_vouches_for_nobody(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    team = publisher()
    source = "pypi://cogen-plugin-power==1.0/cogen_plugin_power/base/"
    both = dict(weights.base())
    assert upload(team, build(tmp_path, **base(source, folder_digest(both)))).state == "quarantined"
    other = build(tmp_path, "wind", **base(source, folder_digest(both)))
    assert upload(team, other).state == "quarantined"


def wait(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def test_the_verifier_looks_elsewhere(
    publisher: Publishers, upload: Upload, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed fetch leaves the reason and is tried at the next upload; what was found once is not fetched again."""
    service.settings = Settings(root=service.settings.root, embedder="none", verify_elsewhere=True)
    answers: list[str | None] = ["no network", None]
    asked: list[Pin] = []

    def fake_network(pin: Pin, _: Service) -> str | None:
        asked.append(pin)
        return answers[len(asked) - 1]

    monkeypatch.setattr(verifying, "elsewhere", fake_network)
    digest = "sha256:" + "2" * 64
    source = f"hf://far/away@{OID}"
    team = publisher()
    release = upload(team, build(tmp_path, **base(source, digest)))
    assert state(service, release)[1] == f"{source} is not in this registry and not verified elsewhere yet"
    verifier = service.components.put(Verifier(service))
    verifier.start()
    try:
        wait(lambda: state(service, release)[1] == "no network")
        second = upload(team, build(tmp_path, version="2.0", **base(source, digest)))
        wait(lambda: state(service, release)[0] == state(service, second)[0] == "released")
        third = upload(team, build(tmp_path, version="3.0", **base(source, digest)))
        assert third.state == "released"
    finally:
        verifier.close()
    assert [(pin.source, pin.revision, pin.digest) for pin in asked] == [(source, None, digest)] * 2
    with service.sessions.read() as session:
        found = {(row.source, row.digest) for row in session.scalars(select(Verified))}
    assert (source, digest) in found
    assert {source for source, _ in found} == {source, f"as described: {digest}"}


def test_a_start_looks_again(
    publisher: Publishers, upload: Upload, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.settings = Settings(root=service.settings.root, embedder="none")
    release = upload(publisher(), build(tmp_path, **base(f"hf://far/away@{OID}", "sha256:" + "2" * 64)))
    monkeypatch.setattr(verifying, "elsewhere", lambda pin, service: None)
    verifier = Verifier(service)
    verifier.start()
    try:
        wait(lambda: state(service, release)[0] == "released")
    finally:
        verifier.close()


def test_each_source_is_fetched_once_a_look(
    publisher: Publishers, upload: Upload, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.settings = Settings(root=service.settings.root, embedder="none")
    asked: list[Pin] = []

    def elsewhere(pin: Pin, _: Service) -> str:
        asked.append(pin)
        return "nothing there"

    monkeypatch.setattr(verifying, "elsewhere", elsewhere)
    for version in ("1.0", "2.0", "3.0"):
        upload(publisher(), build(tmp_path, version=version, **base(f"hf://far/away@{OID}", "sha256:" + "2" * 64)))
    Verifier(service).look()
    assert len(asked) == 1


def test_elsewhere_is_the_package_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing there, and no network: one line says so."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = elsewhere(Pin("pypi://nothing-of-this-name==1/x", None, "sha256:" + "0" * 64))
    assert found == (
        "pypi://nothing-of-this-name==1/x could not be verified: "
        "nothing-of-this-name==1 is not in the cache and HF_HUB_OFFLINE asks for no network"
    )

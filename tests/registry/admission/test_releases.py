"""From a wheel to a release: immutable, owned, within limits; all of it or nothing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from support.shelf import token
from support.wheels import build

from cogen_registry.admission.current import rank
from cogen_registry.admission.releases import scratch, visible, yank
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Base, Expert, Project, Release
from cogen_registry.errors import Refused
from cogen_registry.search.text import text_of
from cogen_registry.service import Service

Publishers = Callable[..., Principal]
Upload = Callable[..., Release]


def everything(service: Service) -> tuple[dict[str, int], list[str]]:
    """Rows of every table and all blobs, staged ones and unpacked ones too."""
    with service.sessions.read() as session:
        rows = {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }
    root = service.settings.root
    left = [
        file
        for folder in (root / "blobs" / ".staged", scratch(service))
        if folder.exists()
        for file in folder.iterdir()
    ]
    assert not left
    return rows, sorted(service.blobs.names())


def test_a_wheel_becomes_a_release(service: Service, publisher: Publishers, upload: Upload, tmp_path: Path) -> None:
    team, path = publisher(), build(tmp_path)
    before = service.serial
    release = upload(team, path)
    assert service.serial == before + 1
    with service.sessions.read() as session:
        row = session.get(Release, release.id)
        assert row is not None
        assert (row.project.name, row.project.look, row.project.publisher.name) == (
            "cogen-plugin-power",
            "power",
            "team",
        )
        assert (row.version, row.same, row.state, row.reason, row.yanked) == ("1.0", "1", "released", None, None)
        assert (row.filename, row.size, row.requires_python) == (path.name, path.stat().st_size, ">=3.8")
        assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        metadata = b"".join(service.blobs.read(row.metadata_sha256))
        assert metadata.startswith(b"Metadata-Version: 2.4\nName: cogen-plugin-power\n")
        (expert,) = row.experts
        assert (expert.expert, expert.current, expert.publisher, expert.license) == (
            "power",
            True,
            "team",
            "Apache-2.0",
        )
        assert [domain.name for domain in expert.domains] == ["testing"]
        assert [language.tag for language in expert.languages] == ["en"]
        from cogen.spec.expert import ExpertSpec

        assert expert.text == text_of(ExpertSpec.model_validate(expert.spec))
        assert expert.vector is None
    assert sorted(service.blobs.names()) == sorted([row.sha256, row.metadata_sha256])


def test_the_same_file_again_changes_nothing(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    team, path = publisher(), build(tmp_path)
    first = upload(team, path)
    before, serial = everything(service), service.serial
    assert upload(team, path).id == first.id
    assert (everything(service), service.serial) == (before, serial)


@pytest.mark.parametrize("version", ["1.0", "1.0.0", "1"])
def test_a_version_never_changes(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path, version: str
) -> None:
    team = publisher()
    upload(team, build(tmp_path))
    before = everything(service)
    with pytest.raises(Refused, match=r"cogen-plugin-power 1.0 is there already") as refused:
        upload(team, build(tmp_path, version=version, summary="Other words"))
    assert refused.value.status == 409
    assert everything(service) == before


def test_names_and_ids_belong_to_their_first_publisher(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    first, second = publisher("first"), publisher("second")
    path = build(tmp_path)
    upload(first, path)
    before = everything(service)
    for attempt, message in (
        (path, "belongs to another publisher"),
        (build(tmp_path, version="2.0"), "belongs to another publisher"),
        (build(tmp_path, "p0wer"), "cogen-plugin-p0wer looks like cogen-plugin-power"),
        (build(tmp_path, "power", project="cogen-plugin-energy"), "id power belongs to cogen-plugin-power"),
        (
            build(tmp_path, "p0wer", "2.0", project="cogen-plugin-energy"),
            "id p0wer looks like power of cogen-plugin-power",
        ),
    ):
        with pytest.raises(Refused, match=message) as refused:
            upload(second, attempt)
        assert refused.value.status == 403
        assert everything(service) == before


@pytest.mark.parametrize(
    ("form", "message", "status"),
    [
        (
            {"name": "cogen-plugin-wind"},
            "the form is of cogen-plugin-wind 1.0, the file of cogen-plugin-power 1.0",
            400,
        ),
        ({"version": "2.0"}, "the form is of cogen-plugin-power 2.0", 400),
        ({"version": "new"}, "'new' is not a version", 400),
        ({"filetype": "sdist"}, "sdist is not a wheel", 400),
        ({"filename": "cogen_plugin_power-1.0.tar.gz"}, "is not a wheel", 400),
        ({"filename": "cogen_plugin_power-1.0-1-py3-none-any.whl"}, "build tag", 400),
        ({"filename": "cogen_plugin_power-2.0-py3-none-any.whl", "version": "2.0"}, "entry_points.txt is missing", 400),
        ({"sha256_digest": "0" * 64}, "not the SHA-256 digest", 400),
        ({"blake2_256_digest": "0" * 64}, "not the BLAKE2 digest", 400),
        ({"md5_digest": "0" * 32}, "not the MD5 digest", 400),
    ],
)
def test_a_form_that_contradicts_its_file_is_refused(
    service: Service,
    publisher: Publishers,
    upload: Upload,
    tmp_path: Path,
    form: dict[str, str],
    message: str,
    status: int,
) -> None:
    team, path, before = publisher(), build(tmp_path), everything(service)
    with pytest.raises(Refused, match=message) as refused:
        upload(team, path, **form)
    assert refused.value.status == status
    assert everything(service) == before == (before[0], [])


def test_right_digests_are_accepted(publisher: Publishers, upload: Upload, tmp_path: Path) -> None:
    path = build(tmp_path)
    data = path.read_bytes()
    release = upload(
        publisher(),
        path,
        sha256_digest=hashlib.sha256(data).hexdigest().upper(),
        md5_digest=hashlib.md5(data).hexdigest(),
        blake2_256_digest=hashlib.blake2b(data, digest_size=32).hexdigest(),
    )
    assert release.state == "released"


def test_limits_are_the_publishers_own(service: Service, publisher: Publishers, upload: Upload, tmp_path: Path) -> None:
    path = build(tmp_path)
    size, before = path.stat().st_size, everything(service)[0] | {"publishers": 3, "tokens": 3}
    for name, limits, message in (
        ("a", {"wheel": size - 1}, f"the wheel has {size:,} bytes, at most {size - 1:,}"),
        ("b", {"publisher": size - 1}, f"bytes more than the 0 stored are beyond the limit of {size - 1:,}"),
        ("c", {"unpacked": 1000}, "at most 1,000 are allowed"),
    ):
        with pytest.raises(Refused, match=message) as refused:
            upload(publisher(name, **limits), path)
        assert refused.value.status == 413
    assert everything(service) == (before, [])
    team = publisher("d", publisher=3 * size, wheel=size)
    upload(team, path)
    with pytest.raises(Refused, match=r"more than the [\d,]+ stored"):
        upload(team, build(tmp_path, version="2.0"))


def test_a_token_is_for_its_scope(service: Service, publisher: Publishers, upload: Upload, tmp_path: Path) -> None:
    path = build(tmp_path)
    for scopes in (("weights",), ("packages:cogen-plugin-wind",)):
        with pytest.raises(Refused, match="has no scope 'packages'") as refused:
            upload(publisher("team", *scopes), path)
        assert refused.value.status == 403
    assert upload(publisher("team", "packages:cogen-plugin-power"), path).state == "released"


def test_one_of_two_uploads_at_once_wins(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    team = publisher()
    paths = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        paths.append(build(tmp_path / str(number), summary=f"Expert {number}"))
    output: list[str] = []

    def attempt(path: Path) -> None:
        try:
            output.append(upload(team, path).state)
        except Refused as refused:
            output.append(str(refused.status))

    threads = [threading.Thread(target=attempt, args=[path]) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(output) == ["409", "409", "409", "released"]
    rows, blobs = everything(service)
    assert (rows["releases"], rows["experts"], len(blobs)) == (1, 1, 2)


def current(service: Service) -> list[str]:
    with service.sessions.read() as session:
        return list(session.scalars(select(Release.version).join(Expert).where(Expert.current)))


def test_the_newest_version_is_current(service: Service, publisher: Publishers, upload: Upload, tmp_path: Path) -> None:
    """Final before pre-releases, yanked ones never; by PEP 440, not by letters or time."""
    team = publisher()
    for version, wanted in (
        ("2.0a1", "2.0a1"),
        ("1.9", "1.9"),
        ("1.10", "1.10"),
        ("1.2", "1.10"),
        ("3.0.dev1", "1.10"),
    ):
        upload(team, build(tmp_path, version=version))
        assert current(service) == [wanted]
    yank(service, team, "cogen-plugin-power", "1.10", "broken\n  weights")
    assert current(service) == ["1.9"]
    for version in ("1.9", "1.2"):
        yank(service, team, "cogen-plugin-power", version, "")
    assert current(service) == ["3.0.dev1"]
    yank(service, team, "cogen-plugin-power", "1.10", None)
    assert current(service) == ["1.10"]
    with service.sessions.read() as session:
        rows = dict(session.execute(select(Release.version, Release.yanked)).all())
    assert rows == {"2.0a1": None, "1.9": "", "1.10": None, "1.2": "", "3.0.dev1": None}


def test_ranks_are_those_of_installers() -> None:
    versions = ["2.0a1", "1.0", "1.0.post1", "1.0rc1", "1!0.1", "2.0.dev1"]
    assert sorted(versions, key=rank) == ["1.0rc1", "2.0.dev1", "2.0a1", "1.0", "1.0.post1", "1!0.1"]


def test_only_its_owner_yanks_a_release(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path
) -> None:
    upload(publisher(), build(tmp_path))
    for principal, status in ((publisher("other"), 403), (publisher("team", "weights"), 403)):
        with pytest.raises(Refused) as refused:
            yank(service, principal, "cogen-plugin-power", "1.0", "mine")
        assert refused.value.status == status
    for project, version in (("cogen-plugin-power", "2.0"), ("torch", "1.0"), ("cogen-plugin-power", "x")):
        with pytest.raises(Refused, match="there is no release") as refused:
            yank(service, publisher(), project, version, "")
        assert refused.value.status == 404
    with service.sessions.read() as session:
        assert visible(session, "Cogen.Plugin-Power", "1.0.0", None).yanked is None
        assert session.scalar(select(Project.name)) == "cogen-plugin-power"


def test_a_failed_transaction_leaves_no_blob(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, say, when the second of two blobs is kept."""
    from cogen_registry.blobs.disk import StagedBlob

    keep = StagedBlob.keep
    kept: list[str] = []

    def full(self: StagedBlob) -> str:
        if kept:
            raise OSError(28, "No space left on device")
        kept.append(keep(self))
        return kept[0]

    team = publisher()
    before = everything(service)
    with monkeypatch.context() as patch:
        patch.setattr(StagedBlob, "keep", full)
        with pytest.raises(OSError, match="No space left"):
            upload(team, build(tmp_path))
    assert len(kept) == 1
    assert everything(service) == before == (before[0], [])
    assert upload(team, build(tmp_path)).state == "released"


def test_tokens_of_tests_are_real(service: Service) -> None:
    assert token(service, "x")["Authorization"].startswith("Bearer cogen_")


def test_what_is_read_for_the_pins_of_one_release_ends(tmp_path: Path) -> None:
    """A source names the same large file of a wheel as often as it fits."""
    from support.shelf import open_service

    from cogen_registry.admission.find_pins import PinNotFound, find_pin
    from cogen_registry.admission.pins import Pin

    opened = open_service(tmp_path / "root", verify_elsewhere=False, limits={"unpacked": 300_000})
    try:
        from support.shelf import put

        put(opened, "power")
        with opened.sessions.write() as session:
            from sqlalchemy import select

            from cogen_registry.database.tables import Release

            release = session.scalars(select(Release)).one()
            path = build(tmp_path, "power", extra={"cogen_plugin_power/big.txt": b"x" * 250_000})
            with opened.blobs.stage() as staged:
                staged.write(path.read_bytes())
                release.sha256 = staged.keep()
            name = release.project.name
            part = f"{name}=={release.version}/cogen_plugin_power/big.txt"
            once = Pin(f"pypi://{part}", None, "sha256:" + "0" * 64)
            with pytest.raises(PinNotFound, match="has digest"):
                find_pin(opened, session, once)
            often = Pin("pypi://" + ",".join([part] * 6), None, "sha256:" + "0" * 64)
            session.flush()
            with pytest.raises(PinNotFound, match="more than 1,200,000 bytes") as error:
                find_pin(opened, session, often)
            assert error.value.final
    finally:
        opened.close()


def test_every_blob_is_let_go_of_where_the_database_goes_away(
    service: Service, publisher: Publishers, upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction fails, and so does looking whether a row names the blobs: none of them stays held."""
    team = publisher()

    def away(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the server closed the connection unexpectedly"))

    service.sessions.guards.append(away)
    monkeypatch.setattr(service, "discard", away)
    let_go = []
    released = service.blobs.release
    monkeypatch.setattr(service.blobs, "release", lambda name: (let_go.append(name), released(name)))
    with pytest.raises(OperationalError):
        upload(team, build(tmp_path))
    assert sorted(let_go) == sorted(service.blobs.names())
    assert len(let_go) == 2

"""What a mirror holds: everything that can be read, in the registry's own words, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from fastapi.testclient import TestClient
from packaging.version import Version
from support.hosting import hosted
from support.pages import Page
from support.shelf import fresh_root, open_service
from support.stock import keep, stock

from cogen_registry.app import create_app
from cogen_registry.cli import main
from cogen_registry.export import export
from cogen_registry.service import Service
from cogen_registry.settings import Settings


@pytest.fixture(scope="module")
def url(mirror: Path) -> Iterator[str]:
    with hosted(mirror) as found:
        yield found


def pages(mirror: Path) -> list[Path]:
    """Those for people: what is called so for `cogen`'s sake is JSON."""
    return [path for path in sorted(mirror.rglob("*.html")) if "api" not in path.relative_to(mirror).parts]


def test_every_link_of_every_page_is_a_file(mirror: Path) -> None:
    """Relative, so right wherever the mirror lies; to sections that are there; and nothing is loaded from elsewhere."""
    found = pages(mirror)
    assert len(found) > 70
    ids = {path: set(Page(path.read_text()).ids) for path in found if "simple" not in path.parts}
    for path in found:
        page = Page(path.read_text())
        loaded = [value for tag, name, value in page.attributes if name == "src" or (tag, name) == ("link", "href")]
        for link in [*page.links, *loaded]:
            if link.startswith("https://"):
                continue
            assert not link.startswith("/"), (path, link)
            place, section = urldefrag(link)
            target = path if not place else (path.parent / unquote(place)).resolve()
            if target.is_dir():
                target = target / "index.html"
            assert target.is_file(), (path, link)
            assert mirror in target.parents, (path, link)
            # what a filter should find stands there, too: the list reads it
            if section and target in ids and target != mirror / "experts" / "index.html":
                assert section in ids[target], (path, link)


def test_nothing_quarantined_leaks(mirror: Path) -> None:
    """Not by name, title, digest or bytes."""
    for path in mirror.rglob("*"):
        assert "secret" not in path.name
        if path.is_file():
            data = path.read_bytes()
            for word in (b"Quarantined title", b"cogen-plugin-secret", b"cogen_plugin_secret"):
                assert word not in data, (path, word)


def test_no_secrets_leak(settings: Settings, mirror: Path) -> None:
    """Digests of tokens, limits of publishers and uploads that nobody committed stay at home."""
    service = open_service_at(settings)
    with service.sessions.read() as session:
        from sqlalchemy import select

        from cogen_registry.database.tables import Token

        digests = [digest.encode() for digest in session.scalars(select(Token.digest))]
    assert digests
    for path in mirror.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [digest for digest in digests if digest in data]


def open_service_at(settings: Settings) -> Service:
    from cogen_registry.readonly import open_readonly

    with open_readonly(settings) as service:
        return service


def test_the_mirror_says_what_the_service_says(settings: Settings, url: str, tmp_path: Path) -> None:
    """Where a client asks the mirror as it would ask the service, it gets the same answer."""
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(settings.root, root)
    with TestClient(create_app(Settings(root=root, embedder="none", url="https://r.example"))) as client:
        paths = [
            "/api/v1/index.json",
            "/api/v1/experts/clinical",
            "/api/v1/experts/power/0.9",
            "/api/v1/experts/old",
            "/api/v1/publishers/hospital",
            "/api/v1/publishers/mallory",
            "/api/v1/evaluations/1/evidence",
            "/api/v1/composites/gridworks/both",
            "/api/v1/composites/gridworks/both/1",
            "/composites/gridworks/both/1/cogen.lock",
            "/api/models/hospital/weights",
            "/api/models/hospital/weights/refs",
            "/api/models/hospital/weights/tree/main?recursive=true",
            "/hospital/weights/resolve/main/config.json",
            "/hospital/weights/resolve/main/model.safetensors",
        ]
        detail = client.get("/api/v1/experts/clinical").json()
        wheel = f"/files/{detail['file']['sha256']}/{detail['file']['filename']}"
        for path in [*paths, wheel, f"{wheel}.metadata"]:
            with urllib.request.urlopen(url + path + ("/index.json" if path.endswith("evidence") else "")) as answer:
                mirrored = answer.read()
            served = client.get(path)
            assert served.status_code == 200, path
            if served.headers["content-type"].startswith("application/json"):
                there, here = served.json(), json.loads(mirrored)
                if path.startswith("/api/models") and isinstance(there, dict):
                    there.pop("siblings", None)  # the mirror's have sizes, too
                    here.pop("siblings", None)
                if isinstance(there, dict) and "file" in there:
                    there["file"].pop("url")
                    assert (
                        here["file"].pop("url").endswith(f"files/{here['file']['sha256']}/{here['file']['filename']}")
                    )
                assert here == there, path
            else:
                assert mirrored == served.content, path


def test_files_are_what_their_digests_say(mirror: Path) -> None:
    wheels = list(mirror.glob("files/*/*.whl"))
    assert len(wheels) == 31
    for path in wheels:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name
    index = json.loads((mirror / "simple" / "cogen-plugin-old" / "index.json").read_text())
    assert index["files"][0]["yanked"] == "trained on <the> wrong split"
    assert (mirror / "publishers" / "hospital" / f"{'ab' * 32}.pem").read_text() == "PEM OF THE KEY"


def pip(url: str, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Unmodified pip, with nothing but a plain web server behind it."""
    common = [
        "--isolated",
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--index-url",
        f"{url}/simple/",
    ]
    return subprocess.run([sys.executable, "-m", "pip", verb, *common, *arguments], capture_output=True, text=True)


def test_pip_installs_from_the_mirror(url: str, tmp_path: Path) -> None:
    """The newest version, by hash and METADATA; what is yanked goes to who asks for just that."""
    target, report = tmp_path / "site", tmp_path / "report.json"
    done = pip(url, "install", "--target", str(target), "--report", str(report), "cogen-plugin-power")
    assert done.returncode == 0, done.stderr
    if Version(version("pip")) >= Version("23.2"):  # earlier ones read METADATA apart from JSON's pages alone, or not
        assert ".metadata" in done.stdout
    assert (target / "cogen_plugin_power" / "suites" / "test.jsonl").is_file()
    (reported,) = json.loads(report.read_text())["install"]
    assert reported["metadata"]["version"] == "1.0"
    assert re.fullmatch(r"[0-9a-f]{64}", reported["download_info"]["archive_info"]["hashes"]["sha256"])
    done = pip(url, "download", "-d", str(tmp_path), "cogen-plugin-old==1.0")
    assert done.returncode == 0, done.stderr
    assert "trained on <the> wrong split" in done.stdout + done.stderr


def test_pip_finds_nothing_that_is_quarantined(url: str, tmp_path: Path) -> None:
    done = pip(url, "download", "-d", str(tmp_path), "cogen-plugin-secret")
    assert done.returncode != 0
    assert "No matching distribution" in done.stderr


def test_a_rerun_writes_what_changed(tmp_path: Path) -> None:
    """A new version: its files, and the pages that name it; everything else stays the same file."""
    root, target = tmp_path / "root", tmp_path / "mirror"
    service = open_service(root)
    stock(service, "power", "1.0")
    stock(service, "clinic", "1.0", model=_other_base())
    settings = Settings(root=root, embedder="none")
    export(settings, target, "https://m.example")
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*") if path.is_file()}
    again = export(settings, target, "https://m.example")
    assert again.files - again.kept == 1  # mirror.json has the time
    stock(service, "power", "2.0")
    service.close()
    export(settings, target, "https://m.example")
    changed = {
        path.relative_to(target).as_posix()
        for path in target.rglob("*")
        if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    }
    assert {"mirror.json", "index.html", "experts/power/index.html", "experts/power/2.0/index.html"} <= changed
    assert not [path for path in changed if "clinic" in path]
    # The first version's wheel is the very same file; its page says now that there is a newer one.
    assert sorted(path.rpartition("/")[2] for path in changed if path.startswith("files/")) == [
        "cogen_plugin_power-2.0-py3-none-any.whl",
        "cogen_plugin_power-2.0-py3-none-any.whl.metadata",
    ]
    assert "experts/power/1.0/index.html" in changed
    assert "pip install --no-deps --index-url https://m.example/simple/" in (
        target / "experts/power/index.html"
    ).read_text().replace("\n", " ")


def _other_base() -> dict[str, object]:
    from support.manifests import manifest

    model = manifest("clinic")["model"]
    return dict(model | {"base": model["base"] | {"weights_digest": "sha256:" + "1" * 64}})


def test_a_damaged_blob_stops_the_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that was altered goes out, and the old mirror stays."""
    root, target = tmp_path / "root", tmp_path / "mirror"
    service = open_service(root)
    stock(service, "power", "1.0")
    settings = Settings(root=root, embedder="none")
    export(settings, target)
    stock(service, "power", "2.0")
    service.close()
    newest = max(root.glob("blobs/??/*"), key=lambda path: path.stat().st_size)
    newest.write_bytes(b"x" * newest.stat().st_size)
    before = sorted(target.rglob("*"))
    assert main(["export", str(target), "--root", str(root), "--fresh"]) == 1
    assert "is damaged\nhint: `cogen-registry check`" in capsys.readouterr().err
    assert sorted(target.rglob("*")) == before


def test_a_service_may_go_on_meanwhile(tmp_path: Path) -> None:
    """The root is not locked, and uploads that are staged stay."""
    root = fresh_root(tmp_path / "root")
    with TestClient(create_app(Settings(root=root, embedder="none"))) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        stock(service, "power")
        with service.blobs.stage() as staged:
            staged.write(b"half an upload")
            assert main(["export", str(tmp_path / "mirror"), "--root", str(root), "--url", "http://m.example"]) == 0
            assert staged.keep()
        assert keep(service, b"half an upload")
    assert (tmp_path / "mirror" / "experts" / "power" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["{root}"], "contain each other"),
        (["{root}/mirror"], "contain each other"),
        (["{root}/.."], "contain each other"),
        (["{tmp}/m", "--url", "ftp://x"], "is not where a mirror can be"),
        (["{tmp}/m", "--root", "{tmp}/none"], "has no registry in it"),
    ],
)
def test_mistakes_of_the_operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], output: str
) -> None:
    root = fresh_root(tmp_path / "root")
    named = [one.format(root=root, tmp=tmp_path) for one in arguments]
    assert main(["export", *(named if "--root" in named else [*named, "--root", str(root)])]) == 1
    error = capsys.readouterr().err
    assert output in error
    assert "hint: " in error
    assert not (tmp_path / "m").exists()

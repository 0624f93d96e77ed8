"""Text out of archives: the same members from every kind, nothing built, nothing executed, pinned."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cogen.checkpoints.digests import file_digest
from cogen.errors import CogenError, DigestError, SourceError
from cogen.files import cache_dir
from cogen.forge.account import BROKEN_LINK, LINKED, NO_FILE, NO_MATCH, OTHER_CASE
from cogen.forge.archives import _glob, members
from cogen.forge.recipe import CorpusSource
from cogen.reporter import SILENT

FILES = {"docs/b.txt": b"b", "docs/a.txt": b"a", "docs/sub/c.txt": b"c", "docs/sub/d.bin": b"d", "top.txt": b"t"}
ZERO = "sha256:" + "0" * 64


def source(uri: str, digest: str | None, *globs: str, exclude: tuple[str, ...] = ()) -> CorpusSource:
    return CorpusSource(
        name="s",
        uri=uri,
        digest=digest,
        members=globs or ("**/*.txt",),
        exclude=exclude,
        extract="text",
        license="CC0-1.0",
        license_evidence="none",
    )


def read(what: CorpusSource, home: Path = Path()) -> dict[str, bytes]:
    found = list(members(what, home, SILENT))
    assert [name for name, _ in found] == sorted(name for name, _ in found)
    return dict(found)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txt.gz"]),
        ("**/*.txt", ["a.txt", "a/b.txt", "a/b/c.txt"], ["a.md"]),
        ("a/**", ["a/b", "a/b/c", "a"], ["ab/c", "b/a"]),
        ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["a/b/cd", "c"]),
        ("**", ["a", "a/b"], []),
        ("a?.[ch]", ["ab.c", "ax.h"], ["a.c", "ab.o", "A/b.c"]),
        ("A.txt", ["A.txt"], ["a.txt"]),
    ],
)
def test_globs(pattern: str, matching: list[str], other: list[str]) -> None:
    """``**`` is any number of folders, also none; ``*`` stays inside one; letter case counts."""
    assert [name for name in matching + other if _glob(name, pattern)] == matching


class TestFolders:
    """``file://`` is relative to the recipe."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        for name, data in FILES.items():
            path = tmp_path / "texts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path

    def test_globs_and_order(self, home: Path) -> None:
        """Names are relative to the folder, sorted; ``exclude`` takes away."""
        assert list(read(source("file://texts", None), home)) == [
            "docs/a.txt",
            "docs/b.txt",
            "docs/sub/c.txt",
            "top.txt",
        ]
        assert read(source("file://texts", None, "docs/*", exclude=("**/b.*",)), home) == {"docs/a.txt": b"a"}
        assert read(source("file://texts/top.txt", None, "*"), home) == {"top.txt": b"t"}

    def test_gzip_files_are_unpacked(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Named by their whole name, given without .gz; archives stay as they are; too large ones are left out."""
        packed = gzip.compress(b'{"text": "one"}')
        (home / "texts" / "rows.json.gz").write_bytes(packed)
        (home / "texts" / "whole.tar.gz").write_bytes(packed)
        found = read(source("file://texts", None, "*.gz"), home)
        assert found == {"rows.json": b'{"text": "one"}', "whole.tar.gz": packed}
        assert read(source("file://texts", None, "*.json"), home) == {}
        (home / "texts" / "rows.json.gz").write_bytes(packed[:-9])
        with pytest.raises(SourceError, match=r"rows\.json\.gz of source") as caught:
            read(source("file://texts", None, "*.json.gz"), home)
        assert caught.value.hint
        (home / "texts" / "rows.json.gz").write_bytes(packed)
        monkeypatch.setattr("cogen.forge.archives._MEMBER_LIMIT", 10)
        left: list[tuple[str, str, int]] = []
        assert not list(members(source("file://texts", None, "*.json.gz"), home, SILENT, lambda *one: left.append(one)))
        assert left == [("larger than 64 MiB", "rows.json.gz", 11)]

    def test_a_digest_is_checked(self, home: Path) -> None:
        """A folder may be pinned too, and then it holds."""
        assert read(source("file://texts", file_digest(home / "texts")), home)
        with pytest.raises(DigestError) as caught:
            read(source("file://texts", ZERO), home)
        assert caught.value.hint

    def test_nothing_there(self, home: Path) -> None:
        """One line and a hint."""
        with pytest.raises(SourceError, match="nowhere does not exist") as caught:
            read(source("file://nowhere", None), home)
        assert caught.value.hint


def sdist(path: Path, name: str, marker: Path) -> Path:
    """A source archive whose build would write ``marker``."""
    code = f"open({str(marker)!r}, 'w')\n".encode()
    inside = {
        f"{name}-1.0/{k}": v for k, v in (FILES | {"setup.py": code, "PKG-INFO": b"Name: x\nVersion: 1.0\n"}).items()
    }
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for inner, data in inside.items():
                archive.writestr(inner, data)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for inner, data in inside.items():
                info = tarfile.TarInfo(inner)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo(f"{name}-1.0/link.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package index on this machine: wheels for pip's --find-links, sdists on its page."""
    root = tmp_path / "index"
    (root / "simple" / "texty").mkdir(parents=True)
    sdist(root / "simple" / "texty" / "texty-1.0.tar.gz", "texty", tmp_path / "ran")
    links = "".join(f'<a href="{p.name}">{p.name}</a>' for p in (root / "simple" / "texty").iterdir())
    (root / "simple" / "texty" / "index.html").write_text(f"<html><body>{links}</body></html>")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(root), **kwargs)

        def log_message(self, *args: Any) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("HF_HUB_OFFLINE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield type("Index", (), {"folder": root / "simple" / "texty", "asked": asked})
    server.shutdown()
    thread.join()
    server.server_close()


def left() -> list[Path]:
    return [path for path in (cache_dir() / "corpora").rglob("*") if path.is_file() and path.suffix != ".lock"]


class TestSdist:
    """Read as an archive; building it would run its code."""

    def test_is_never_executed(self, index: Any, tmp_path: Path) -> None:
        """Its leading folder is not part of a name, links are no files, and setup.py is only text. Fetched once."""
        what = source("sdist://texty==1.0", file_digest(index.folder / "texty-1.0.tar.gz"), "**/*.txt", "setup.py")
        found = read(what)
        assert sorted(found) == ["docs/a.txt", "docs/b.txt", "docs/sub/c.txt", "setup.py", "top.txt"]
        assert found["docs/a.txt"] == b"a"
        assert not (tmp_path / "ran").exists()
        count = len(index.asked)
        assert read(what) == found
        assert len(index.asked) == count

    @pytest.mark.parametrize(
        ("uri", "digest", "kind", "text"),
        [
            ("sdist://texty==1.0", ZERO, DigestError, "not the file that was published"),
            ("sdist://texty==2.0", ZERO, SourceError, "no sdist of texty 2.0"),
            ("sdist://absent==1.0", ZERO, SourceError, "has no absent"),
            ("sdist://texty", ZERO, SourceError, "is not sdist://name==version"),
        ],
    )
    def test_refused_with_nothing_left(
        self, index: Any, uri: str, digest: str, kind: type[CogenError], text: str
    ) -> None:
        """One line, a hint, and an empty cache."""
        with pytest.raises(kind, match=text) as caught:
            read(source(uri, digest))
        assert caught.value.hint
        assert left() == []

    def test_offline(self, index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is asked for."""
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(SourceError, match="HF_HUB_OFFLINE") as caught:
            read(source("sdist://texty==1.0", ZERO))
        assert caught.value.hint
        assert index.asked == []

    def test_no_archive(self, index: Any) -> None:
        """A file that was pinned but cannot be unpacked: one line."""
        path = index.folder / "texty-1.0.tar.gz"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(SourceError, match="cannot be unpacked") as caught:
            read(source("sdist://texty==1.0", file_digest(path)))
        assert caught.value.hint


def test_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the user's own pip, without its dependencies; the second time from the cache."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "texty-1.0-py3-none-any.whl"
    info = {
        "METADATA": b"Metadata-Version: 2.1\nName: texty\nVersion: 1.0\nRequires-Dist: nobody-has-this\n",
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (FILES | {f"texty-1.0.dist-info/{k}": v for k, v in info.items()}).items():
            archive.writestr(name, data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    what = source("wheel://texty==1.0", "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(), "docs/**/*.txt")
    found = read(what)
    assert found == {"docs/a.txt": b"a", "docs/b.txt": b"b", "docs/sub/c.txt": b"c"}
    monkeypatch.setattr(subprocess, "run", None)
    assert read(what) == found
    (stored,) = left()
    stored.write_bytes(b"damaged")
    with pytest.raises(DigestError, match=r"wheel://texty==1\.0") as caught:
        read(what)
    assert "cogen cache clear" in str(caught.value.hint)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="not a Debian system")
def test_a_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacked without being installed: its maintainer scripts don't run."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: texty\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: texts\n"
    )
    (tree / "DEBIAN" / "preinst").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (tree / "DEBIAN" / "preinst").chmod(0o755)
    for name, data in FILES.items():
        path = tree / "usr" / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    built = tmp_path / "texty_1.0_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(built)], check=True, capture_output=True
    )
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(
        "cogen.forge.archives._deb", lambda name, version, folder: shutil.copy(built, folder) and folder / built.name
    )
    found = read(source("deb://texty==1.0", file_digest(built), "usr/share/docs/*.txt"))
    assert found == {"usr/share/docs/a.txt": b"a", "usr/share/docs/b.txt": b"b"}
    assert not (tmp_path / "ran").exists()


def npm_package(path: Path) -> Path:
    """What `npm pack` gives: everything in a folder `package`."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (FILES | {"package.json": b'{"scripts": {"prepack": "touch ran"}}'}).items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["texty", "@some-one/texty.js"])
def test_an_npm_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By the user's npm, which is asked to run no script of the package; names may have a scope."""
    built = npm_package(tmp_path / "texty-1.0.0.tgz")
    asked: list[list[str]] = []

    def run(command: list[str], cwd: Path, what: str, hint: str) -> None:
        asked.append(command)
        shutil.copy(built, cwd)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("cogen.forge.archives._run", run)
    what = source(f"npm://{name}==1.0.0", file_digest(built), "docs/*.txt")
    assert read(what) == read(what) == {"docs/a.txt": b"a", "docs/b.txt": b"b"}
    assert asked == [["npm", "pack", "--silent", "--ignore-scripts", f"{name}@1.0.0"]]


@pytest.mark.parametrize(
    "uri", ["npm://texty", "npm://--global==1.0", "npm://@a/b/c==1.0", "npm://texty==../1.0", "sdist://@a/b==1.0"]
)
def test_a_name_that_is_none(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before any client is started: no option, no path, no scope where there are none."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(SourceError, match="==version") as caught:
        read(source(uri, ZERO))
    assert caught.value.hint
    assert left() == []


def test_no_npm_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line that names what could not be started."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="npm cannot be started") as caught:
        read(source("npm://texty==1.0", ZERO))
    assert "npm client" in str(caught.value.hint)


class TestWhatIsNotRead:
    """Files that may be meant and are not read are named, with their size."""

    @staticmethod
    def skipped(what: CorpusSource, home: Path) -> set[tuple[str, str, int]]:
        found = set()
        list(members(what, home, SILENT, lambda reason, name, size: found.add((reason, name, size))))
        return found

    def test_of_a_folder(self, tmp_path: Path) -> None:
        texts, other = tmp_path / "texts", tmp_path / "other"
        (texts / "sub").mkdir(parents=True)
        (other / "deep").mkdir(parents=True)
        (texts / "a.txt").write_bytes(b"a")
        (texts / "sub" / "B.TXT").write_bytes(b"bb")
        (texts / "C.MD").write_bytes(b"c")
        (other / "deep" / "d.txt").write_bytes(b"dddd")
        (other / "e.bin").write_bytes(b"e")
        (texts / "ward").symlink_to(other)
        (texts / "file.txt").symlink_to(other / "deep" / "d.txt")
        (texts / "gone.txt").symlink_to(tmp_path / "nothing")
        (texts / "loop.txt").symlink_to(texts / "loop.txt")
        os.mkfifo(texts / "pipe.txt")
        what = source("file://texts", None, "**/*.txt", "**/*.rst")
        assert read(what, tmp_path) == {"a.txt": b"a", "file.txt": b"dddd"}
        assert self.skipped(what, tmp_path) == {
            (OTHER_CASE, "sub/B.TXT", 2),
            (LINKED, "ward", 4),
            (BROKEN_LINK, "gone.txt", 0),
            (BROKEN_LINK, "loop.txt", 0),
            (NO_FILE, "pipe.txt", 0),
            (NO_MATCH, "**/*.rst", 0),
        }
        without = source("file://texts", None, "**/*.txt", exclude=("**/*.TXT", "ward/**", "gone.txt", "loop.txt"))
        assert self.skipped(without, tmp_path) == {(NO_FILE, "pipe.txt", 0)}

    def test_of_an_archive(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, link in (("x/a.txt", ""), ("x/b.txt", "a.txt"), ("x/C.TXT", "")):
                info = tarfile.TarInfo(name)
                info.size, info.type, info.linkname = (0, tarfile.SYMTYPE, link) if link else (1, tarfile.REGTYPE, "")
                archive.addfile(info, None if link else io.BytesIO(b"a"))
        digest = file_digest(path)
        folder = cache_dir() / "corpora" / digest.removeprefix("sha256:")[:24]
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
        what = source("sdist://x==1", digest)
        assert read(what) == {"a.txt": b"a"}
        assert self.skipped(what, tmp_path) == {(NO_FILE, "b.txt", 0), (OTHER_CASE, "C.TXT", 1)}

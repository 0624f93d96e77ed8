"""``cogen.toml``: entries come and go, everything else stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogen.errors import SpecError
from cogen.sharing.project import Recorded, record, recorded, unrecord

ENTRY = Recorded("0.1.0", "ab" * 32, "acme", "sha256:1", "https://models.example.org")


def test_an_entry_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "cogen.toml"
    assert recorded(path) == {}
    record(path, "cogen-plugin-power", ENTRY)
    assert recorded(path) == {"cogen-plugin-power": ENTRY}
    unsigned = Recorded("0.2.0", "cd" * 32, "acme", None, "http://x")
    record(path, "cogen-plugin-power", unsigned)
    assert recorded(path) == {"cogen-plugin-power": unsigned}
    assert unrecord(path, "cogen-plugin-power")
    assert not unrecord(path, "cogen-plugin-power")
    assert path.read_text().strip() == ""
    assert list(tmp_path.iterdir()) == [path]


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "cogen.toml"
    text = '# ours\n[fusion]  # how\nstrategy = "merge"\n\n[experts.other]\nversion = "1"\nsha256 = "s"\n'
    text += 'publisher = "p"\nregistry = "r"\nnote = "by hand"\n'
    path.write_text(text)
    record(path, "cogen-plugin-power", ENTRY)
    assert path.read_text().startswith(text.rstrip("\n"))
    assert set(recorded(path)) == {"other", "cogen-plugin-power"}
    unrecord(path, "cogen-plugin-power")
    assert path.read_text().rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize("text", ["[", "experts = 1", "[experts]\npower = 1", '[experts.power]\nversion = "1"'])
def test_files_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cogen.toml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        recorded(path)
    assert caught.value.hint
    assert path.read_text() == text

"""Building, reading and checking wheels; nothing of a wheel is believed."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from support.trees import built, tree

from cogen.errors import CogenError, SpecError, UsageError
from cogen.files import sha256_of
from cogen.sharing.publishing.build import BuildError, build_wheel
from cogen.sharing.publishing.check import check_wheel
from cogen.sharing.wheels import read_wheel
from cogen.wheels import WheelError


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    return built(tree(place / "power"), place)


def changed(wheel: Path, folder: Path, change: dict[str, bytes | None]) -> Path:
    """A copy with members added, replaced, or (``None``) left out."""
    folder.mkdir(exist_ok=True)
    target = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change.get(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
        for name in change.keys() - set(old.namelist()):
            new.writestr(name, change[name] or b"")
    return target


def test_a_wheel_says_what_it_holds(wheel: Path) -> None:
    found = read_wheel(wheel)
    assert (found.project, found.version) == ("cogen-plugin-power", "1.0")
    assert [spec.id for spec in found.experts] == ["power"]
    with zipfile.ZipFile(wheel) as archive:
        assert set(found.files) == set(archive.namelist()) - {"cogen_plugin_power-1.0.dist-info/RECORD"}
    assert check_wheel(found) >= 10


@pytest.mark.slow
def test_the_same_tree_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    assert sha256_of(build_wheel(tree(tmp_path / "power"), tmp_path)) == sha256_of(wheel)


@pytest.mark.slow
def test_what_cannot_be_built(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no pyproject\.toml"):
        build_wheel(tmp_path, tmp_path / "out")
    folder = tree(tmp_path / "power")
    (folder / "backend.py").write_text("def build_wheel(*a): raise ValueError('no error of ours')")
    with pytest.raises(BuildError, match="failed: ") as caught:
        build_wheel(folder, tmp_path / "out")
    assert re.match(r"run it yourself to see all of it: (python\S* -m \S+|uv build \S+) ", str(caught.value.hint))
    assert not (tmp_path / "out").exists()


def test_a_check_that_fails_is_named(tmp_path: Path) -> None:
    folder = tree(tmp_path / "power")
    (folder / "cogen_plugin_power" / "samples.jsonl").write_text('{"text": "other"}\n')
    found = read_wheel(built(folder, tmp_path / "out"))
    with pytest.raises(SpecError, match=r"power fails 1 of \d+ checks: digests: samples.jsonl"):
        check_wheel(found)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("../evil.py", "not a path|has characters"),
        ("/etc/evil", "not a path|has characters"),
        ("a/../../evil", "not a path|has characters"),
        ("a\\evil", "not a path|has characters"),
        ("C:/evil", "not a path|has characters"),
        ("cogen_plugin_power-1.0.data/data/share/cogen/receipts/x.json", "outside of the plugin"),
        ("evil.pth", "outside of the plugin"),
        ("more.py", "outside of the plugin"),
        ("cogen_plugin_power/more.py", "RECORD and the archive differ"),
    ],
)
def test_members_that_do_not_belong_there(wheel: Path, tmp_path: Path, name: str, error: str) -> None:
    with pytest.raises(WheelError, match=error):
        read_wheel(changed(wheel, tmp_path / "bad", {name: b"x"}))


def test_a_member_that_is_not_what_its_record_says(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"__init__\.py is not the file that RECORD lists"):
        read_wheel(changed(wheel, tmp_path / "bad", {"cogen_plugin_power/__init__.py": b"import os"}))
    with pytest.raises(WheelError, match="RECORD and the archive differ"):
        read_wheel(changed(wheel, tmp_path / "bad", {"cogen_plugin_power/__init__.py": None}))


def test_wheels_that_are_none(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "x-1.0-py3-none-any.whl").write_bytes(b"no zip")
    shutil.copy(wheel, tmp_path / "power.whl")
    cut = tmp_path / "y-1.0-py3-none-any.whl"
    cut.write_bytes(wheel.read_bytes()[:-100])
    with zipfile.ZipFile(tmp_path / "z-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("z/__init__.py", "")
    for path in sorted(tmp_path.glob("*.whl")):
        with pytest.raises(CogenError) as caught:
            read_wheel(path)
        assert caught.value.hint
        assert "\n" not in caught.value.message

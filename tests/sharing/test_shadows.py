"""Another package of the same name in front of the verified one; what lies beside, behind and around an environment."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hostile import Sender, add_file, release
from support.users import User, Users
from support.wheels import build

from cogen.errors import CogenError
from cogen.sharing.verify import Finding, verify_all

CODE, INFO = "cogen_plugin_power", "cogen_plugin_power-1.0.dist-info"


@pytest.fixture
def user(users: Users) -> Iterator[User]:
    made = users("user")
    with made.there():
        yield made


@pytest.fixture
def added(user: User, tmp_path: Path) -> User:
    add_file(build(tmp_path))
    assert verified().problems == []
    return user


def verified() -> Finding:
    (finding,) = verify_all(["cogen-plugin-power"], online=False)
    return finding


def in_front(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])


@pytest.mark.parametrize("form", ["package", "module", "zip", "metadata too"])
def test_another_package_in_front(added: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """PYTHONPATH, the current folder, the user's own site-packages: Python imports what it finds first."""
    place = tmp_path / "front"
    place.mkdir()
    if form == "module":
        (place / f"{CODE}.py").write_text("print('owned')\n")
    elif form == "zip":
        place = tmp_path / "front.zip"
        with zipfile.ZipFile(place, "w") as file:
            file.writestr(f"{CODE}/__init__.py", "print('owned')\n")
    else:
        shutil.copytree(added.packages / CODE, place / CODE)
        (place / CODE / "__init__.py").write_text("print('owned')\n")
        if form == "metadata too":
            shutil.copytree(added.packages / INFO, place / INFO)
    in_front(place, monkeypatch)
    problems = verified().problems
    if form == "metadata too":  # then that is what is installed
        assert any("__init__.py: altered" in line for line in problems), problems
    else:
        assert any(str(place) in line for line in problems), problems


def test_the_same_folder_by_another_name_is_no_other(
    added: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(added.packages)
    in_front(link, monkeypatch)
    assert verified().problems == []


def test_metadata_that_was_renamed(added: User) -> None:
    """The distribution is another one now, and what was verified is not there."""
    (added.packages / INFO).rename(added.packages / "cogen_plugin_wind-1.0.dist-info")
    finding = verified()
    assert finding.problems


def test_metadata_of_another_version_beside(added: User) -> None:
    shutil.copytree(added.packages / INFO, added.packages / "cogen_plugin_power-0.9.dist-info")
    assert verified().problems


@pytest.mark.parametrize("level", ["", ".opt-1", ".opt-2"])
def test_compiled_with_every_optimisation(added: User, level: str) -> None:
    import py_compile

    source = added.packages / CODE / "__init__.py"
    made = Path(py_compile.compile(str(source), optimize=int(level[-1]) if level else 0, doraise=True) or "")
    assert made.name.endswith(f"{level}.pyc" if level else f"{sys.implementation.cache_tag}.pyc")
    assert verified().problems == []
    other = added.home / "other.py"
    other.write_text("import os\n")
    py_compile.compile(str(other), cfile=str(made), optimize=int(level[-1]) if level else 0, doraise=True)
    assert "altered" in " ".join(verified().problems)


@pytest.mark.parametrize("form", ["link", "folder", "file"])
def test_what_could_be_imported_later(added: User, form: str) -> None:
    package = added.packages / CODE
    if form == "link":
        (package / "__init__.py").rename(added.home / "init.py")
        (package / "__init__.py").symlink_to(added.home / "init.py")
    elif form == "folder":
        (package / "more.py").mkdir()
        (package / "more.py" / "__init__.py").write_text("")
    else:
        (package / "more.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    assert verified().problems


def test_a_links_target_is_somebody_elses(user: User, tmp_path: Path) -> None:
    """The folder of the package is a link: nothing is written through it."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    (user.packages / CODE).symlink_to(place)
    whole = user.whole()
    with pytest.raises(CogenError):
        add_file(build(tmp_path))
    assert user.whole() == whole
    assert list(place.iterdir()) == []


class TestProjectFile:
    HOSTILE = (
        "experts = 5",
        "[experts]\ncogen-plugin-power = 5",
        "[[experts]]\nx = 1",
        "[experts.cogen-plugin-power]\nversion = 1",
        '[experts.cogen-plugin-power]\nversion = "x y"\nsha256 = "1"\npublisher = "p"\nregistry = "r"',
        '[experts.cogen-plugin-power]\nversion = "9"\nsha256 = []\npublisher = {}\nregistry = 5\nkey = []\nroot = 1.5\n'
        'allow = "x"\nbeside = [5, [], {}]\ncode = true',
        '[experts.cogen-plugin-power]\nversion = "1.0"\nsha256 = "1"\npublisher = "\\u001b]0;x\\u0007"\nregistry = "r"',
        '[experts.cogen-plugin-power]\nversion = ["1.0"]\nsha256 = "1"\npublisher = "p"\nregistry = "r"',
        "x = " + "[" * 5000,
        "\x00",
        "\xff",
        "a." * 3000 + "b = 1",
        "[experts.cogen-plugin-power]\n" * 2,
    )

    @pytest.mark.parametrize("text", HOSTILE)
    def test_anything(self, user: User, tmp_path: Path, text: str) -> None:
        """One line and a hint, or as if it were not there; what is installed is as it was."""
        from cogen.sharing import history, project

        user.project.write_text(text, encoding="latin-1")
        whole = user.whole()
        wheel, problem = build(tmp_path), None
        try:
            known = history.before("cogen-plugin-power", user.project)
            for one in known.seen:
                assert all(isinstance(value, str | None) for value in vars(one).values())
                from packaging.version import Version

                Version(one.version)
            add_file(wheel)
        except CogenError as error:
            problem = error
            assert user.whole() == whole
        else:
            assert project.recorded(user.project)["cogen-plugin-power"].version == "1.0"
        assert problem is None or problem.hint

    def test_a_name_in_another_spelling_is_a_pin_too(self, user: User) -> None:
        from cogen.sharing import history

        user.project.write_text(
            '[experts.Cogen_Plugin_Power]\nversion = "2.0"\nsha256 = "1"\npublisher = "p"\nregistry = "r"\n'
        )
        assert [one.version for one in history.before("cogen-plugin-power", user.project).seen] == ["2.0"]

    def test_large_or_not_a_file(self, user: User) -> None:
        from cogen.sharing import project

        user.project.mkdir()
        with pytest.raises(CogenError):
            project.recorded(user.project)
        user.project.rmdir()
        os.mkfifo(user.project)
        with pytest.raises(CogenError):
            project.recorded(user.project)
        user.project.unlink()
        with user.project.open("wb") as file:
            file.truncate(100 << 20)
        with pytest.raises(CogenError):
            project.recorded(user.project)

    def test_a_folder_that_cannot_be_written(self, user: User, tmp_path: Path) -> None:
        """Nothing is installed where it cannot be written down."""
        from cogen.sharing import add

        (tmp_path / "file").write_text("")
        whole = user.whole()
        client: Any = Sender(build(tmp_path))
        wheel = client.wheel
        place = tmp_path / "file" / "cogen.toml"
        verified = add.fetch(client, release(wheel), None, weights=False)
        with pytest.raises((CogenError, OSError)):
            add.install(client, add.prepare(verified, "uv"), "uv", place)
        assert user.whole() == whole


def test_pins_of_another_environment_outlive_an_add_that_fails(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are shared by environments: undoing one add takes back nothing of another that ended meanwhile."""
    from cogen.sharing import add
    from cogen.trust import pins
    from cogen.trust.registries import pin, pinned

    real = add.environment.install

    def meanwhile(wheel: Path, *a: Any, target: Path | None = None, **k: Any) -> Any:
        if target is None:  # it is this one's turn: what was there before has been copied
            pins.update("root", projects={"cogen-plugin-other": pins.Pin(key="sha256:1")}, revoked={"sha256:2": "lost"})
            pin("https://other.example", "team", "sha256:1")
        return real(wheel, *a, target=target, **k)

    monkeypatch.setattr(add.environment, "install", meanwhile)
    monkeypatch.setattr(add, "keep", lambda receipt: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        add_file(build(tmp_path))
    assert pins.pins_of("root").projects["cogen-plugin-other"].key == "sha256:1"
    assert pins.pins_of("root").revoked == {"sha256:2": "lost"}
    assert pinned("https://other.example", "team") == ["sha256:1"]

"""The rule on what lies in an environment, and what Python compiled of it."""

from __future__ import annotations

import importlib.util
import marshal
import py_compile
import shutil
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from support.wheels import build

from cogen.wheels import check_installed, read_wheel
from cogen.wheels.installed import compare_files, holds_code, recorded_files

CODE, INFO = "cogen_plugin_power", "cogen_plugin_power-1.0.dist-info"
SOURCE = b"""\
import os

def first(name: str, *more, default=(1, 2.5, "x")) -> str:
    '''Words.'''
    return {name, "a", "b", "c"} and f"{name}{[x for x in more if x in {1, 2, 3}]}{default!r}"

class Second:
    value = 10**30
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A wheel with code, as an installer unpacks it."""
    wheel = build(tmp_path, extra={f"{CODE}/hooks.py": SOURCE})
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    with (site / INFO / "RECORD").open("a") as file:
        file.write(f"{INFO}/INSTALLER,,\n")
    (site / INFO / "INSTALLER").write_text("tests\n")
    return site


def distribution(site: Path) -> PathDistribution:
    return PathDistribution(site / INFO)


def lines(site: Path) -> list[str]:
    found = distribution(site)
    return [*check_installed(found, host="0.1.0"), *compare_files(site, recorded_files(found), INFO)]


def test_what_an_installer_makes_of_a_wheel_is_right(site: Path, tmp_path: Path) -> None:
    assert lines(site) == []
    (wheel,) = tmp_path.glob("*.whl")
    assert recorded_files(distribution(site)) == read_wheel(wheel).files
    assert holds_code(site, [CODE]) is read_wheel(wheel).code is True
    (site / CODE / "hooks.py").unlink()
    assert holds_code(site, [CODE]) is False


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{CODE}/more.txt", "more.txt: added"),
        (f"{INFO}/more.txt", "more.txt: added"),
        (f"{CODE}.py", "added beside"),
        (f"{CODE}.cpython-311-x86_64-linux-gnu.so", "added beside"),
        (f"{CODE}.pth", "added beside"),
        (f"{CODE}__more/__init__.py", "added beside"),
        (f"{CODE}-2.0.dist-info/METADATA", "added beside"),
        (f"{CODE}.egg-info/PKG-INFO", "added beside"),
        ("Cogen_Plugin_Power/__init__.py", "added beside"),
        (f"{CODE}/hooks.pyc", "hooks.pyc: added"),
        (f"{CODE}/__pycache__/x.so", "x.so: added"),
        (f"{CODE}/suites/__pycache__/x/y.pyc", "x: added"),
    ],
)
def test_files_that_somebody_put_there(site: Path, name: str, message: str) -> None:
    path = site / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    assert any(message in line for line in lines(site)), lines(site)


def test_other_plugins_are_not_its_business(site: Path) -> None:
    for name in ("cogen_plugin_power_grid/__init__.py", "cogen_plugin_power_grid-1.0.dist-info/METADATA", "numpy.py"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text("")
    assert lines(site) == []


@pytest.mark.parametrize(
    "row",
    [
        "sitecustomize.py",
        "transformers/__init__.py",
        "../../../bin/ls",
        "a.pth",
        "/etc/passwd",
        f"{CODE}/x.pth",
        f"{INFO}/x.py",
        f"{CODE}/native.so",
    ],
)
def test_a_record_that_names_files_of_others(site: Path, row: str) -> None:
    with (site / INFO / "RECORD").open("a") as file:
        file.write(f"{row},,\n")
    assert any(row in line for line in lines(site)), lines(site)


def test_links_are_no_files(site: Path, tmp_path: Path) -> None:
    """What they point to can change at any time."""
    path = site / CODE / "samples.jsonl"
    shutil.move(path, tmp_path / "away")
    path.symlink_to(tmp_path / "away")
    assert any("samples.jsonl: a link" in line for line in lines(site))


class TestCompiled:
    """Python runs a compiled file in the place of its source."""

    def compiled(self, site: Path, level: int = 0, **options: object) -> Path:
        source = site / CODE / "hooks.py"
        made = py_compile.compile(str(source), optimize=level, doraise=True, **options)  # type: ignore[call-overload]
        assert made is not None
        return Path(made)

    @pytest.mark.parametrize("level", [0, 1, 2])
    @pytest.mark.parametrize("mode", ["TIMESTAMP", "CHECKED_HASH"])
    def test_what_python_writes_is_right(self, site: Path, level: int, mode: str) -> None:
        self.compiled(site, level, invalidation_mode=py_compile.PycInvalidationMode[mode])
        self.compiled(site, level, dfile="/another/place/hooks.py")
        assert lines(site) == []

    def test_what_an_import_writes_is_right(self, site: Path) -> None:
        import subprocess

        run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); import {CODE}.hooks"]
        subprocess.run(run, check=True, env={"PYTHONHASHSEED": "7"})
        assert list((site / CODE / "__pycache__").iterdir())
        assert lines(site) == []

    @pytest.mark.parametrize(
        "source",
        [
            SOURCE + b"os.system('true')\n",
            SOURCE.replace(b"2.5", b"2.6"),
            b"",
            SOURCE.replace(b"default!r", b"default!s"),
        ],
    )
    def test_other_code_under_the_right_header(self, site: Path, source: bytes) -> None:
        path = self.compiled(site)
        header = path.read_bytes()[:16]
        path.write_bytes(header + marshal.dumps(compile(source, str(site / CODE / "hooks.py"), "exec")))
        (line,) = lines(site)
        assert line.startswith(f"{CODE}/__pycache__/{path.name}: altered: not what its source compiles to")

    @pytest.mark.parametrize("content", [b"", b"\0" * 16, b"x" * 200])
    def test_no_code_at_all(self, site: Path, content: bytes) -> None:
        path = self.compiled(site)
        path.write_bytes(content)
        assert len(lines(site)) == 1
        path.write_bytes(importlib.util.MAGIC_NUMBER + b"\0" * 12 + content)
        assert "altered" in lines(site)[0]

    def test_a_hash_that_nobody_checks(self, site: Path) -> None:
        self.compiled(site, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        assert "Python would never compare it with its source" in lines(site)[0]

    def test_names_that_are_not_this_pythons(self, site: Path) -> None:
        path = self.compiled(site)
        for name, message in (
            ("hooks.cpython-310.pyc", "another Python (cpython-310)"),
            ("hooks.pypy39.pyc", "another Python (pypy39)"),
            ("hooks.pyc", "another Python ()"),
            (path.name.replace("hooks", "gone"), "compiled from no file"),
            (path.name.replace(".pyc", ".opt-9.pyc"), "another Python"),
        ):
            path = path.rename(path.with_name(name))
            assert message in lines(site)[0]

    def test_a_source_that_was_altered_with_it(self, site: Path) -> None:
        (site / CODE / "hooks.py").write_bytes(SOURCE + b"x = 1\n")
        self.compiled(site)
        assert [line.partition(":")[0] for line in lines(site)] == [
            f"{CODE}/hooks.py",
            f"{CODE}/__pycache__/hooks.{sys.implementation.cache_tag}.pyc",
        ]

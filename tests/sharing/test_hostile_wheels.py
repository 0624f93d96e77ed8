"""Wheels that a hostile registry sends: none of their bytes reach the environment.

The registry's word is left out here: a client that hands over any file, and the functions that `cogen add` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.hostile import Sender, add_file, release
from support.users import User, Users
from support.wheels import build

from cogen.errors import CogenError
from cogen.sharing import add, environment
from cogen.sharing.verify import verify_all
from cogen.trust.errors import TrustError
from cogen.wheels import WheelError

CODE, INFO = "cogen_plugin_power", "cogen_plugin_power-1.0.dist-info"
LOADS = b"import os\n"


@pytest.fixture
def user(users: Users) -> Iterator[User]:
    """Inside of the user's environment, in which somebody else's packages lie."""
    made = users("user")
    other = made.packages / "transformers"
    other.mkdir()
    (other / "__init__.py").write_text("x = 1\n")
    (made.packages / "typing_extensions.py").write_text("y = 1\n")
    with made.there():
        yield made


def test_a_size_that_no_wheel_has(user: User, tmp_path: Path) -> None:
    """Nothing is fetched: a disk is full before a digest is compared."""
    wheel = build(tmp_path)
    asked = replace(release(wheel), size=1 << 40)

    class Never(Sender):
        def download(self, path: str, target: Path, **_: Any) -> None:
            raise AssertionError("it was fetched")

    client: Any = Never(wheel)
    with pytest.raises(WheelError, match="at most"):
        add.fetch(client, asked, None, weights=False)


NOT = "not a (kind|path|file) "
#: What a plugin may not hold, and what is said.
MEMBERS: list[tuple[str, str]] = [
    ("sitecustomize.py", "outside"),
    ("usercustomize.py", "outside"),
    ("sitecustomize/__init__.py", "outside"),
    ("transformers/__init__.py", "outside"),
    ("cogen/__init__.py", "outside"),
    ("typing_extensions.py", "outside"),
    ("a.pth", "outside"),
    (".pth", "outside"),
    ("A.PTH", "outside"),
    ("zz.pth/x.txt", "outside"),
    (f"{CODE}/a.pth", NOT),
    (f"{CODE}/deep/er/a.pth", NOT),
    (f"{INFO}/a.pth", NOT),
    (f"{INFO}/licenses/a.pth", NOT),
    (f"{INFO}/licenses/a.py", NOT),
    ("cogen_plugin_power-1.0.data/purelib/x.py", "outside"),
    ("cogen_plugin_power-1.0.data/scripts/ls", "outside"),
    (f"{CODE}/x.data/scripts/ls", NOT),
    ("bin/ls", "outside"),
    ("../bin/ls", NOT),
    ("torch-2.0.dist-info/METADATA", "outside"),
    ("cogen_plugin_power-2.0.dist-info/METADATA", "outside"),
    (f"{CODE}/x-1.dist-info/entry_points.txt", NOT),
    (f"{CODE}/x.egg-info/PKG-INFO", NOT),
    (f"{CODE}/native.so", NOT),
    (f"{CODE}/native.cpython-311-x86_64-linux-gnu.so", NOT),
    (f"{CODE}/native.pyd", NOT),
    (f"{CODE}/x.pyc", NOT),
    (f"{CODE}/x.PYC", NOT),
    (f"{CODE}/__pycache__/__init__.cpython-311.pyc", NOT),
    (f"{CODE}/x.pyw", NOT),
    (f"{CODE}/x.zip", NOT),
    (f"{CODE}/x.pkl", NOT),
    (f"{CODE}.py", "outside"),
    (f"{CODE}__more/__init__.py", "outside"),
    (f"{CODE}__more__/x.txt", "outside"),
    (f"{CODE}_grid/x.txt", "outside"),
    ("Cogen_Plugin_Power/x.txt", "one name on some|outside"),
    ("ｃogen_plugin_power/x.txt", "one name on some|outside"),
    (f"{CODE}/EXPERT.toml", "one name on some"),
    (f"{CODE}/PROGRA~1", "short name"),
    (f"{CODE}/CON.txt", "reserves"),
    ("cogen_plugin_power.dist-info/METADATA", "outside"),
    ("namespace/", "outside"),
    (f"{INFO}/INSTALLER", NOT),
    (f"{INFO}/direct_url.json", NOT),
    (f"{INFO}/RECORD.jws", NOT),
    (f"{INFO}/METADATA/x", "lies in a file"),
]


@pytest.mark.parametrize(("name", "message"), MEMBERS)
def test_members_that_no_plugin_may_hold(user: User, tmp_path: Path, name: str, message: str) -> None:
    before = user.whole()
    wheel = build(tmp_path, extra={name: b"" if name.endswith("/") else LOADS})
    with pytest.raises(WheelError, match=message) as refused:
        add_file(wheel, code=True)
    assert refused.value.hint
    assert "\n" not in refused.value.message
    assert user.whole() == before


POINTS = [
    "[console_scripts]\ncogen = {0}:main",
    "[console_scripts]\nls = {0}:main",
    "[gui_scripts]\nx = {0}:main",
    "[pytest11]\nx = {0}",
    "[distutils.commands]\nx = {0}",
    "[cogen.more]\nx = {0}",
    "[ cogen ]\nx = {0}",
    "[cogen]\nx = {0}.more",
    "[cogen]\nx = {0}:hooks",
    "[cogen]\nx = {0} [extra]",
    "[cogen]\nx = transformers",
    "[cogen]\nx = os.path",
    "[cogen]\n  x = {0}__more",
    "[COGEN]\nx = {0}",
    "[cogen]\nx={0}\u2028[pytest11]\u2028y={0}",
    "[cogen]\nx = {0}\r[pytest11]\ry = {0}",
    "[cogen]\nx = class",
    "x = {0}",
    "[DEFAULT]\nx = {0}",
]


@pytest.mark.parametrize("points", POINTS)
def test_entry_points_of_anything_else(user: User, tmp_path: Path, points: str) -> None:
    before = user.whole()
    text = f"[cogen]\npower = {CODE}\n{points.format(CODE)}\n"
    with pytest.raises(WheelError):
        add_file(build(tmp_path, points=text), code=True)
    assert user.whole() == before


NEEDS = [
    ("", "does not depend on cogen-core"),
    ("Requires-Dist: cogen-core; python_version < '3'\n", "only where"),
    ("Requires-Dist: cogen-core; extra == 'x'\nProvides-Extra: x\n", "only where"),
    ("Requires-Dist: cogen-core[registry]\n", "brings other packages"),
    ("Requires-Dist: cogen-core==9.9\n", "requires exactly"),
    ("Requires-Dist: cogen-core===0.1.0\n", "requires exactly"),
    ("Requires-Dist: cogen-core>=7\n", "0.1.0 is installed"),
    ("Requires-Dist: cogen-core\nRequires-Dist: cogen-core<0.1\n", "0.1.0 is installed"),
    ("Requires-Dist: cogen-core @ https://evil.example/x.whl\n", "from a URL"),
    ("Requires-Dist: cogen-core\nRequires-Dist: evil\n", "it requires evil, and"),
    (
        "Requires-Dist: cogen-core\nRequires-Dist: evil; extra == 'x'\nProvides-Extra: x\n",
        "evil in an extra",
    ),
    ("Requires-Dist: cogen-core\nRequires-Dist: torch==1.0\n", "it requires torch"),
    ("Requires-Dist: cogen-core\nRequires-Dist: cogen\n", "an unrelated package"),
    ("Requires-Dist: Cogen_Core\nRequires-Dist: Evil ; python_version > '3'\n", "it requires Evil"),
]


@pytest.mark.parametrize(("needs", "message"), NEEDS)
def test_requirements_that_were_not_allowed(user: User, tmp_path: Path, needs: str, message: str) -> None:
    before = user.whole()
    text = f"Metadata-Version: 2.4\nName: cogen-plugin-power\nVersion: 1.0\n{needs}"
    with pytest.raises(WheelError, match=message) as refused:
        add_file(build(tmp_path, metadata=text))
    assert refused.value.hint
    assert user.whole() == before


class TestCode:
    """Data or code, by what the wheel holds and nothing that anybody says."""

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("__init__.py", b"import os\n"),
            ("__init__.py", b"x = 1"),
            ("hooks.py", b""),
            ("hooks.py", b"# nothing\n"),
            ("sub/__init__.py", b"print()"),
            ("__init__.py", b"# coding: utf-7\n# +AAo-import os\n"),
            ("__init__.py", b"#!/usr/bin/python\n#\rimport os\n"),
            ("__init__.py", b'"""a""";import os\n'),
            ("__init__.py", b'"""a\n# """;import os\n"""\n'),
            ("__init__.py", b"\xef\xbb\xbf# a\n"),
            ("__init__.py", b"# a\x0cimport os\n"),
            ("__init__.py", b"'''doc'''\n"),
        ],
    )
    def test_code_needs_consent_for_this_very_file(self, user: User, tmp_path: Path, name: str, content: bytes) -> None:
        before = user.whole()
        wheel = build(tmp_path, extra={f"{CODE}/{name}": content})
        with pytest.raises(TrustError, match="holds code") as refused:
            add_file(wheel)
        assert "--allow-code" in str(refused.value.hint)
        assert user.whole() == before
        receipt = add_file(wheel, code=True)
        assert receipt.code is True
        assert 'code = "allowed"' in user.project.read_text()
        environment.uninstall("cogen-plugin-power", "uv")
        assert add_file(wheel).code is True  # a colleague with this cogen.toml is not asked again
        newer = build(tmp_path / "..", version="1.1", extra={f"{CODE}/{name}": content})
        with pytest.raises(TrustError, match="holds code"):
            add_file(newer)

    @pytest.mark.parametrize(
        "content", [b"", b"\n\n", b"# a comment\n  # another\n", b'"""Words."""\n', b"# \xc3\xa4\r\n"]
    )
    def test_data_needs_none(self, user: User, tmp_path: Path, content: bytes) -> None:
        receipt = add_file(build(tmp_path, extra={f"{CODE}/__init__.py": content}))
        assert receipt.code is False
        assert "code" not in user.project.read_text().replace("cogen", "")
        (finding,) = verify_all(["power"], online=False)
        assert (finding.problems, finding.kind) == ([], "data")


def test_a_new_version_with_code_where_the_old_was_data_asks(user: User, tmp_path: Path) -> None:
    add_file(build(tmp_path))
    before = user.whole()
    with pytest.raises(TrustError, match=r"1\.1 holds code"):
        add_file(build(tmp_path, version="1.1", extra={f"{CODE}/hooks.py": LOADS}))
    assert user.whole() == before


class TestPlaces:
    """Nothing of others is overwritten, whoever's it is."""

    def test_a_file_of_another_distribution(self, user: User, tmp_path: Path) -> None:
        folder, info = user.packages / CODE, user.packages / "other-1.0.dist-info"
        folder.mkdir()
        info.mkdir()
        (folder / "samples.jsonl").write_text("mine")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{CODE}/samples.jsonl,,\nother-1.0.dist-info/METADATA,,\n")
        before = user.whole()
        with pytest.raises(CogenError, match="belongs to other"):
            add_file(build(tmp_path))
        assert user.whole() == before

    @pytest.mark.parametrize(
        "name",
        [
            f"{CODE}/samples.jsonl",
            f"{CODE}/more.py",
            f"{INFO}/METADATA",
            f"{CODE}.py",
            f"{CODE}.cpython-311-x86_64-linux-gnu.so",
            "cogen_plugin_power-0.9.dist-info/x",
            f"{CODE}__more/__init__.py",
        ],
    )
    def test_a_file_of_nobody(self, user: User, tmp_path: Path, name: str) -> None:
        path = user.packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Metadata-Version: 2.1\nName: cogen-plugin-power\nVersion: 1.0\n" if "INFO" in name else "x")
        before = user.whole()
        with pytest.raises(CogenError):
            add_file(build(tmp_path))
        assert user.whole() == before

    def test_an_installed_version_whose_record_names_files_of_others(self, user: User, tmp_path: Path) -> None:
        """An installer that replaces it would delete them."""
        add_file(build(tmp_path))
        record = user.packages / INFO / "RECORD"
        record.write_text(record.read_text() + "transformers/__init__.py,,\n")
        (finding,) = verify_all(["power"], online=False)
        assert any("transformers/__init__.py lies outside" in line for line in finding.problems)
        before = user.whole()
        with pytest.raises(CogenError, match=r"lists transformers/__init__\.py, which is not its own"):
            add_file(build(tmp_path, version="1.1"))
        assert user.whole() == before


Break = Callable[[pytest.MonkeyPatch], None]


class TestUndo:
    """Whatever ends an add in whatever step: every byte of the environment is as it was."""

    STEPS = (
        "add.staged",
        "add.undoable",
        "add.forget_compiled",
        "add.environment.install",
        "add._check_done",
        "add.keep",
        "add.project.record",
        "add.check_installed",
        "add.compare_files",
        "stage._compare",
        "placement.files_of",
        "snapshot._copy",
        "add._receipt",
    )

    @pytest.mark.parametrize(
        ("error", "late"), [(OSError(28, "No space left on device"), False), (KeyboardInterrupt, True)]
    )
    @pytest.mark.parametrize("before", ["nothing", "old", "same"])
    def test_every_step(
        self, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, before: str, late: bool
    ) -> None:
        if before != "nothing":
            extra = {f"{CODE}/old.txt": b"old"}
            add_file(build(tmp_path, version="0.9" if before == "old" else "1.0", extra=extra))
            cache = user.packages / CODE / "__pycache__"
            cache.mkdir(mode=0o750)
            (cache / "x.cpython-310.pyc").write_bytes(b"kept as it is")
            (user.packages / CODE / "old.txt").chmod(0o600)
        wheel = build(tmp_path / "..", extra={} if before != "same" else {f"{CODE}/old.txt": b"old"})
        whole = user.whole()
        for step in self.STEPS:
            target = f"cogen.sharing.{step}"
            module, name = target.rsplit(".", 1)
            real = pytest.importorskip(module) if module.count(".") == 2 else __import__("cogen.sharing.environment")
            if step == "add.environment.install":
                real = environment
            elif step == "add.project.record":
                real = add.project
            original = getattr(real, name)

            def broken(*a: Any, original: Any = original, **k: Any) -> Any:
                if late:
                    original(*a, **k)
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(real, name, broken)
                with pytest.raises((CogenError, KeyboardInterrupt, OSError, MemoryError)):
                    add_file(wheel)
            assert user.whole() == whole, step
        add_file(wheel)
        assert user.whole() != whole

    def test_a_tool_that_installs_something_else(
        self, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = environment.install

        def other(wheel: Path, with_: Any, *, target: Path | None = None, **more: Any) -> Any:
            real(wheel, with_, target=target, **more)
            if target is None:
                (user.packages / CODE / "more.py").write_text("x")

        whole = user.whole()
        monkeypatch.setattr(environment, "install", other)
        with pytest.raises(CogenError, match=r"more\.py: added"):
            add_file(build(tmp_path))
        assert user.whole() == whole

    def test_a_process_that_was_killed(self, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing runs after SIGKILL: the next command puts things back from the copy on the disk."""
        from cogen.sharing import snapshot

        add_file(build(tmp_path, version="0.9"))
        whole = user.whole()
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, "_restore", lambda place: None)
            patch.setattr(add, "keep", lambda receipt: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                add_file(build(tmp_path))
        assert user.whole() != whole
        assert snapshot.recover() == ["cogen-plugin-power"]
        assert user.whole() == whole

    @pytest.mark.slow
    def test_with_pip(self, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add_file(build(tmp_path, version="0.9"), "pip")
        whole = user.whole()
        with monkeypatch.context() as patch:
            patch.setattr(add, "keep", lambda receipt: (_ for _ in ()).throw(OSError(28, "full")))
            with pytest.raises(OSError, match="full"):
                add_file(build(tmp_path), "pip")
        assert user.whole() == whole
        add_file(build(tmp_path), "pip")
        (finding,) = verify_all(["power"], online=False)
        assert finding.problems == []
        assert not list((user.packages / CODE).rglob("*.pyc"))

    def test_only_one_at_a_time(self, user: User, tmp_path: Path) -> None:
        """What another process is installing is neither disturbed nor taken for left over."""
        from cogen.sharing import snapshot

        path = user.packages / "file.txt"
        path.write_text("before")
        whole = user.whole()

        def installing() -> None:
            with snapshot.undoable("other", [path]):
                path.write_text("after")
                assert snapshot.recover() == []
                assert path.read_text() == "after"
                with pytest.raises(CogenError, match="another command is installing"):
                    add_file(build(tmp_path))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            installing()
        assert user.whole() == whole


def test_removing_deletes_nothing_of_others(user: User, tmp_path: Path) -> None:
    """An installer deletes whatever a RECORD names."""
    from cogen.sharing.remove import remove

    add_file(build(tmp_path))
    record = user.packages / INFO / "RECORD"
    kept = record.read_text()
    record.write_text(kept + "transformers/__init__.py,,\n../../../../cogen.toml,,\n")
    before = user.whole()
    with pytest.raises(CogenError, match="which is not its own"):
        remove("cogen-plugin-power", Path("cogen.toml"), "uv")
    assert user.whole() == before
    record.write_text(kept)
    assert remove("cogen-plugin-power", Path("cogen.toml"), "uv").uninstalled


def test_a_wheel_that_changes_in_the_cache(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is the copy that was hashed, and not what lies in the cache by then."""
    before = user.whole()
    real = add.prepare

    def prepared(verified: Any, tool: Any) -> Any:
        found = real(verified, tool)
        found.wheel.path.write_bytes(b"another file")
        return found

    monkeypatch.setattr(add, "prepare", prepared)
    with pytest.raises(CogenError, match="changed while it was verified"):
        add_file(build(tmp_path))
    assert user.whole() == before

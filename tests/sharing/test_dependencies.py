"""What an expert may bring with it: planned, wheels alone, pinned by hash, and never in the place of what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sharing.test_hostile_wheels import CODE, add_file
from support.users import User, Users
from support.wheels import build, plain

from cogen.errors import CogenError
from cogen.sharing import environment
from cogen.sharing.verify import verify_all
from cogen.trust.receipts import receipt_of
from cogen.wheels import WheelError

TOOLS = ["uv", pytest.param("pip", marks=pytest.mark.slow)]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own index: a folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    for name, without in (("PIP", "NO_INDEX"), ("UV", "OFFLINE")):
        monkeypatch.setenv(f"{name}_FIND_LINKS", str(folder))
        monkeypatch.setenv(f"{name}_{without}", "1")
    return folder


@pytest.fixture
def user(users: Users) -> Iterator[User]:
    made = users("user")
    with made.there():
        yield made


def needs(folder: Path, *requirements: str, version: str = "1.0", **more: Any) -> Path:
    lines = "".join(f"Requires-Dist: {one}\n" for one in ("cogen-core", *requirements))
    head = f"Metadata-Version: 2.4\nName: cogen-plugin-power\nVersion: {version}\n"
    return build(folder, version=version, metadata=head + lines, **more)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_allowed_by_name_comes_with_it(user: User, tmp_path: Path, index: Path, tool: Any) -> None:
    plain(index, "helper", "1.0", requires=["deeper"])
    plain(index, "helper", "2.0", requires=["deeper>=1"])
    plain(index, "deeper", "1.5")
    wheel = needs(tmp_path, "helper>=1")
    with pytest.raises(WheelError, match="it requires helper"):
        add_file(wheel, tool)
    receipt = add_file(wheel, tool, allow=["Helper"])
    assert [one.partition(" ")[0] for one in receipt.beside] == ["deeper==1.5", "helper==2.0"]
    assert (receipt.allow, receipt.code) == (["helper"], False)
    assert (user.packages / "helper.py").is_file()
    text = user.project.read_text()
    assert 'allow = ["helper"]' in text
    assert all(f'"{one}"' in text for one in receipt.beside)
    (finding,) = verify_all(["power"], online=False)
    assert (finding.problems, finding.notes[1:]) == ([], [])

    # a colleague with the same cogen.toml: not asked again, and the same versions
    for name in ("cogen-plugin-power", "helper", "deeper"):
        environment.uninstall(name, tool)
    plain(index, "helper", "3.0", requires=[])
    assert add_file(wheel, tool).beside == receipt.beside
    environment.uninstall("helper", tool)
    (finding,) = verify_all(["power"], online=False)
    assert "helper 2.0 came with it, and nothing is installed" in finding.notes


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_installed_stays(user: User, tmp_path: Path, index: Path, tool: Any) -> None:
    environment.install(plain(tmp_path, "helper", "1.0"), "uv")
    plain(index, "helper", "2.0")
    before = user.whole()
    wheel = needs(tmp_path, "helper>=2")
    with pytest.raises(CogenError):
        add_file(wheel, tool, allow=["helper"])
    assert user.whole() == before
    receipt = add_file(wheel, tool, allow=["helper"], upgrade=["helper"])
    assert [one.partition(" ")[0] for one in receipt.beside] == ["helper==2.0"]
    found = environment.installed("helper")
    assert found is not None
    assert found.version == "2.0"


@pytest.mark.parametrize("name", ["torch", "transformers", "cogen-core"])
def test_torch_is_never_replaced_whatever_is_allowed(user: User, tmp_path: Path, index: Path, name: str) -> None:
    plain(index, name, "999.0")
    before = user.whole()
    with pytest.raises(CogenError) as refused:
        add_file(needs(tmp_path, f"{name}>=999"), allow=[name], upgrade=[name])
    assert refused.value.hint
    assert user.whole() == before


def test_nothing_is_built(user: User, tmp_path: Path, index: Path) -> None:
    """A source distribution runs code when it is built."""
    import io
    import tarfile

    mark = tmp_path / "ran"
    setup = f"open({str(mark)!r}, 'w').write('x')\nfrom setuptools import setup\nsetup(name='helper', version='1.0')\n"
    with tarfile.open(index / "helper-1.0.tar.gz", "w:gz") as archive:
        for path, text in (
            ("helper-1.0/setup.py", setup),
            ("helper-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n"),
        ):
            info = tarfile.TarInfo(path)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    before = user.whole()
    for tool in ("uv", "pip"):
        with pytest.raises(CogenError) as refused:
            add_file(needs(tmp_path, "helper"), tool, allow=["helper"])  # type: ignore[arg-type]
        assert refused.value.hint
    assert not mark.exists()
    assert user.whole() == before


def test_what_would_lie_over_files_of_others(user: User, tmp_path: Path, index: Path) -> None:
    (user.packages / "helper.py").write_text("mine")
    plain(index, "helper", "1.0")
    before = user.whole()
    with pytest.raises(CogenError, match=r"helper\.py lies there already and belongs to nobody"):
        add_file(needs(tmp_path, "helper"), allow=["helper"])
    assert user.whole() == before


def test_an_add_that_fails_takes_back_what_came_with_it(
    user: User, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cogen.sharing import add

    plain(index, "helper", "2.0")
    environment.install(plain(tmp_path, "helper", "1.0"), "uv")
    plain(index, "more", "1.0")
    before = user.whole()
    monkeypatch.setattr(add, "keep", lambda receipt: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        add_file(needs(tmp_path, "helper>=2", "more"), allow=["helper", "more"], upgrade=["helper"])
    assert user.whole() == before
    assert receipt_of("cogen-plugin-power") is None


def test_the_ordinary_expert_asks_no_index(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    real = environment._run
    monkeypatch.setattr(environment, "_run", lambda command, **more: ran.append(command) or real(command, **more))
    assert add_file(build(tmp_path)).beside == []
    assert len(ran) == 2  # staged, and for good
    assert all("--offline" in command or "--no-index" in command for command in ran)
    assert (user.packages / CODE / "expert.toml").is_file()

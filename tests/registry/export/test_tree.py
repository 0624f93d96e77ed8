"""A tree is replaced as a whole or stays as it was; what did not change is not copied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogen_registry.errors import Refused
from cogen_registry.mirror.tree import MARK, Tree

DATA = b"weights" * 1000
NAME = hashlib.sha256(DATA).hexdigest()


def write(target: Path, text: str = "one", fresh: bool = False) -> Tree:
    with Tree(target, fresh) as tree:
        tree.put(["a", "b.txt"], text.encode())
        tree.blob(["w", "m.safetensors"], NAME, len(DATA), lambda: [DATA])
        tree.blob(["w", "main", "m.safetensors"], NAME, len(DATA), lambda: pytest.fail("linked, not copied"))
        tree.put([MARK], b"{}")
    return tree


def files(target: Path) -> dict[str, bytes]:
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in sorted(target.rglob("*")) if p.is_file()}


def beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target and not path.name.endswith(".lock"))


def test_the_first_and_the_second_time(tmp_path: Path) -> None:
    """Equal bytes keep their file and its time; others get a new one."""
    target = tmp_path / "mirror"
    first = write(target)
    before = {name: (target / name).stat() for name in files(target)}
    assert (first.files, first.kept, first.written) == (4, 0, len(DATA) + 5)
    second = write(target, "two")
    assert (second.files, second.kept, second.written) == (4, 2, 3)
    after = {name: (target / name).stat() for name in files(target)}
    same = {name for name in after if after[name].st_mtime_ns == before[name].st_mtime_ns}
    assert same == {"w/m.safetensors", "w/main/m.safetensors", MARK}
    assert files(target)["a/b.txt"] == b"two"
    assert beside(target) == []


def test_what_is_no_longer_there_goes(tmp_path: Path) -> None:
    target = tmp_path / "mirror"
    write(target)
    with Tree(target) as tree:
        tree.put([MARK], b"{}")
    assert files(target) == {MARK: b"{}"}


def test_an_error_leaves_the_old_tree(tmp_path: Path) -> None:
    """Also where the store's own bytes are damaged: they never go out."""
    target = tmp_path / "mirror"
    write(target)
    before = files(target)

    def torn() -> Iterator[bytes]:
        yield DATA[:-1] + b"x"

    with pytest.raises(Refused, match=f"the blob {NAME} is damaged"), Tree(target, fresh=True) as tree:
        tree.blob(["w", "m.safetensors"], NAME, len(DATA), torn)
    assert files(target) == before
    assert beside(target) == []


def test_fresh_copies_what_was_altered_on_the_mirror(tmp_path: Path) -> None:
    target = tmp_path / "mirror"
    write(target)
    (target / "w" / "m.safetensors").write_bytes(b"x" * len(DATA))
    assert write(target, fresh=True).kept == 0
    assert files(target)["w/m.safetensors"] == files(target)["w/main/m.safetensors"] == DATA


@pytest.mark.parametrize("moment", ["writing", "between the renames", "after the second"])
def test_a_killed_export_is_undone_by_the_next_one(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "mirror"
    write(target)
    before = files(target)
    if moment == "writing":
        (tmp_path / ".mirror.part" / "half").mkdir(parents=True)
    elif moment == "between the renames":
        (tmp_path / ".mirror.part").mkdir()
        target.rename(tmp_path / ".mirror.old")
    else:
        (tmp_path / ".mirror.old").mkdir()
        (tmp_path / ".mirror.old" / MARK).write_bytes(b"{}")
    assert write(target).kept == 3
    assert files(target) == before
    assert beside(target) == []


def test_only_a_mirror_is_replaced(tmp_path: Path) -> None:
    """Not a home directory, not a file; and one export at a time."""
    (tmp_path / "home" / "letters").mkdir(parents=True)
    with pytest.raises(Refused, match="is neither empty nor a mirror"):
        write(tmp_path / "home")
    assert (tmp_path / "home" / "letters").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match="is no folder"):
        write(tmp_path / "file")
    with Tree(tmp_path / "mirror") as tree:
        with pytest.raises(Refused, match="another export is writing"):
            write(tmp_path / "mirror")
        tree.put([MARK], b"{}")
    assert files(tmp_path / "mirror") == {MARK: b"{}"}


@pytest.mark.parametrize("parts", [[], [".."], ["a", "..", "b"], ["a/b"], ["", "a"], ["."], ["a\0"]])
def test_no_file_leaves_the_tree(tmp_path: Path, parts: list[str]) -> None:
    with pytest.raises(Refused, match="can't be a path"), Tree(tmp_path / "mirror") as tree:
        tree.put(parts, b"x")


def test_json_that_is_sent_as_html_is_no_markup(tmp_path: Path) -> None:
    import json

    value = {"title": "</script><script>alert(1)</script>&amp;", "n": [1, None, "ü"]}
    with Tree(tmp_path / "mirror") as tree:
        tree.json(["a"], value)
    text = (tmp_path / "mirror" / "a" / "index.html").read_text()
    assert not set("<>&") & set(text)
    assert json.loads(text) == json.loads((tmp_path / "mirror" / "a" / "index.json").read_text()) == value

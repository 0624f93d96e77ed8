"""Zip archives: what is checked is what installers unpack, and no more than was allowed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.wheels import raw

from cogen.wheels.archive import blocks, open_archive, read_member
from cogen.wheels.errors import WheelError
from cogen.wheels.limits import Limits

LIMITS = Limits(unpacked=1_000_000, members=50)


def unpack(path: Path, limits: Limits) -> list[bytes]:
    with open_archive(path, limits) as archive:
        return [b"".join(blocks(archive, info)) for info in archive.infolist()]


def check_refused(path: Path, message: str, too_large: bool = False, limits: Limits = LIMITS) -> None:
    with pytest.raises(WheelError, match=message) as refused:
        unpack(path, limits)
    assert refused.value.too_large is too_large


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.py", "not a path"),
        ("a/../../evil.py", "not a path"),
        ("/etc/evil", "not a path"),
        ("a//b", "not a path"),
        ("a/./b", "not a path"),
        ("./a", "not a path"),
        ("a/..", "not a path"),
        ("a\\..\\b", "has characters"),
        ("C:/evil", "has characters"),
        ("a/b\nc", "has characters"),
        ("a/b\u202egnp.py", "has characters"),
        ("a/b*", "has characters"),
        ("a/con.txt", "reserves"),
        ("a/NUL", "reserves"),
        ("a/b ", "not a path"),
        ("a/b.", "not a path"),
        ("a/" + "b" * 300, "not a path"),
        ("a/" * 260 + "b", "not a path"),
    ],
)
def test_paths_that_lead_out_or_mean_something_else_are_refused(tmp_path: Path, name: str, message: str) -> None:
    check_refused(raw(tmp_path, "x.whl", [(name, b"x")]), message)


@pytest.mark.parametrize(
    "names",
    [
        ("a/b", "A/b"),
        ("a/b", "a/B"),
        ("a/b", "a/b/c"),
        ("a/b/c", "a/b"),
        ("a/\u00e9", "a/e\u0301"),
        ("a/", "A/b"),
        ("a/b/", "a/b"),
    ],
)
def test_two_members_that_are_one_file_somewhere_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    check_refused(
        raw(tmp_path, "x.whl", [(name, b"" if name.endswith("/") else b"x") for name in names]),
        "one name on some|lies in a file",
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    check_refused(raw(tmp_path, "x.whl", [("a/b", b"good"), ("a/b", b"evil")]), "appears twice")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (0o120777, "symbolic link"),
        (0o020666, "not a plain file"),
        (0o010644, "not a plain file"),
        (0o040755, "not a plain file"),
    ],
)
def test_members_that_are_no_plain_files_are_refused(tmp_path: Path, mode: int, message: str) -> None:
    info = zipfile.ZipInfo("a/link")
    info.create_system, info.external_attr = 3, mode << 16
    check_refused(raw(tmp_path, "x.whl", [(info, b"/etc/passwd")]), message)


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/b", b"x")
    check_refused(tmp_path / "x.whl", "compressed in a way")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Ten megabytes of zeros are ten kilobytes here."""
    path = raw(tmp_path, "x.whl", [("a/zeros", bytes(10_000_000))])
    assert path.stat().st_size < 20_000
    check_refused(path, "holds 10,000,000 bytes", True)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = raw(tmp_path, "x.whl", [("a/zeros", bytes(5_000_000))])
    data = path.read_bytes().replace(struct.pack("<L", 5_000_000), struct.pack("<L", 5_000))
    path.write_bytes(data)
    check_refused(path, "cannot be unpacked|not the size")


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    check_refused(raw(tmp_path, "x.whl", [(f"a/{i}", b"") for i in range(51)]), "has 51 members, at most 50", True)


def test_a_directory_that_holds_more_than_it_announces_is_refused(tmp_path: Path) -> None:
    path = raw(tmp_path, "x.whl", [(f"a/{i}", b"") for i in range(60)])
    data = bytearray(path.read_bytes())
    data[-14:-10] = struct.pack("<2H", 3, 3)
    path.write_bytes(data)
    check_refused(path, "contradicts itself")


def edit(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def edited(path: Path) -> Path:
        path.write_bytes(change(path.read_bytes()))
        return path

    return edited


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "not a whole zip"),
        (lambda data: b"not a zip at all, but long enough to have an end", "not a whole zip"),
        (lambda data: data[:-1], "not a whole zip"),
        (lambda data: data + b"x", "not a whole zip"),
        (lambda data: b"#!/bin/sh\n" + data, "between or behind"),
        (lambda data: data[:-2] + b"\x04\x00evil", "not a whole zip"),
        (lambda data: data.replace(b"a/good", b"a/evil", 1), "two names"),
        (lambda data: data[: len(data) // 2], "not a whole zip"),
        (lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"), "contradicts itself"),
        (lambda data: data.replace(b"PK\x03\x04", b"PK\x03\x05"), "no header|between"),
        (lambda data: data[:-18] + b"\x01\x00" + data[-16:], "several disks"),
        (lambda data: data[:14] + b"\x00\x00\x00\x00" + data[18:], "two sizes"),
    ],
)
def test_an_archive_that_means_two_things_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    check_refused(edit(change)(raw(tmp_path, "x.whl", [("a/good", b"x" * 100)])), message)


def test_bytes_between_members_are_refused(tmp_path: Path) -> None:
    """A second archive that a reader of streams would find: offsets of the directory step over it."""
    first = raw(tmp_path, "1.whl", [("a/good", b"x")]).read_bytes()
    hidden = raw(tmp_path, "2.whl", [("a/evil", b"y")]).read_bytes()
    start = first.index(b"PK\x01\x02")
    moved = bytearray(hidden + first)
    moved[len(hidden) + start + 42 : len(hidden) + start + 46] = struct.pack("<L", len(hidden))
    moved[-6:-2] = struct.pack("<L", len(hidden) + start)
    (tmp_path / "x.whl").write_bytes(moved)
    with zipfile.ZipFile(tmp_path / "x.whl") as archive:
        assert archive.namelist() == ["a/good"]
    check_refused(tmp_path / "x.whl", "between or behind")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = raw(tmp_path, "x.whl", [("a/b", b"x")])
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    check_refused(path, "encrypted")


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("a/b", b"good bytes")
    edit(lambda data: data.replace(b"good bytes", b"evil bytes"))(tmp_path / "x.whl")
    check_refused(tmp_path / "x.whl", "cannot be unpacked: Bad CRC")


class Unseekable:
    """A file that can't go back, so that sizes follow the data."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def test_what_build_tools_write_is_read(tmp_path: Path) -> None:
    """Folders, members of unknown length, sizes in the wide form, stored members, names that are not ASCII."""
    out = Unseekable(tmp_path / "stream.whl")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr("a/b", b"x" * 1000)
        archive.writestr("a/\u00e4", b"y")
    out.close()
    with zipfile.ZipFile(tmp_path / "wide.whl", "w") as archive:
        archive.mkdir("a/")
        with archive.open("a/b", "w", force_zip64=True) as member:
            member.write(b"x" * 1000)
        archive.writestr("a/\u00e4", b"y")
    for name in ("stream.whl", "wide.whl"):
        with open_archive(tmp_path / name, LIMITS) as archive:
            assert read_member(archive, "a/b", 1000) == b"x" * 1000
            assert read_member(archive, "a/\u00e4", 1000) == b"y"
            with pytest.raises(WheelError, match="at most 999 are allowed") as refused:
                read_member(archive, "a/b", 999)
            assert refused.value.too_large

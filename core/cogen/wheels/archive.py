"""Zip archives from strangers: one meaning, plain paths, bounded size. Nothing of a wheel is known here.

Programs read a zip archive from its end, from its start, or trust one of two names of a member; an archive that says
different things to them is refused, so that what is checked here is what pip and uv unpack.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cogen.wheels.errors import WheelError
from cogen.wheels.limits import Limits

_END, _CENTRAL, _LOCAL, _ZIP64 = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x07"
_BLOCK = 1 << 20
#: Bytes that the directory of an archive may have for each member that is allowed.
_DIRECTORY_BYTES = 1024
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_FOREIGN = frozenset('\\:*?"<>|')
_BUILD = "build the wheel again with a current build tool"
#: Bytes of a member's name, and of the fields beside it: build tools write 36 at most.
_NAME, _EXTRA = 2_000, 256
#: Folders in folders.
_DEPTH = 20
_CONTRADICTS = "the archive's directory contradicts itself"
_PACKED_TIGHT = "the archive holds bytes between or behind its members"


def open_archive(path: Path, limits: Limits) -> zipfile.ZipFile:
    """An archive whose directory, members' headers and paths are sound and within limits; contents are not read.

    :raises WheelError: it is not, or too large.
    """
    with path.open("rb") as file:
        count = _check_end(file, path.stat().st_size, limits)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, UnicodeDecodeError) as error:
        raise WheelError(f"the file is not a whole zip archive: {error}", hint=_BUILD) from None
    try:
        members = archive.infolist()
        if len(members) != count:
            raise WheelError(_CONTRADICTS, hint=_BUILD)
        for info in members:
            _check_member(info)
        _check_paths([info.filename for info in members])
        unpacked = sum(info.file_size for info in members)
        if unpacked > limits.unpacked:
            raise WheelError(
                f"the archive holds {unpacked:,} bytes, at most {limits.unpacked:,} are allowed",
                hint="upload large weights as a repository and pin them with hf://",
                too_large=True,
            )
        if unpacked > limits.small and unpacked > limits.ratio * path.stat().st_size:
            raise WheelError(
                f"the archive unpacks to {unpacked // path.stat().st_size:,} times its size, "
                f"at most {limits.ratio} times are allowed",
                hint="ship no files of zeros",
                too_large=True,
            )
        with path.open("rb") as file:
            _check_layout(file, members, archive.start_dir)
    except BaseException:
        archive.close()
        raise
    return archive


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A whole member of at most ``limit`` bytes.

    :raises WheelError: it is not there, damaged, or larger.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise WheelError(f"{name} is missing from the wheel", hint=_BUILD) from None
    if info.file_size > limit:
        raise WheelError(
            f"{name} has {info.file_size:,} bytes, at most {limit:,} are allowed", hint="shorten it", too_large=True
        )
    return b"".join(blocks(archive, info))


def blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member, never more than its header promises, with their check sum checked.

    :raises WheelError: it is damaged.
    """
    left = info.file_size
    try:
        with archive.open(info) as opened:
            while block := opened.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    break
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise WheelError(f"{info.filename} cannot be unpacked: {error}", hint=_BUILD) from None
    if left:
        raise WheelError(f"{info.filename} has not the size that the archive promises", hint=_BUILD)


def _check_end(file: BinaryIO, size: int, limits: Limits) -> int:
    """How many members the record at the very end announces, before anything else is believed."""
    file.seek(max(0, size - 42))
    tail = file.read()
    end = tail[-22:]
    if size < 22 or end[:4] != _END:
        raise WheelError("the file is not a whole zip archive, or something follows it", hint=_BUILD)
    _, disk, first, here, count, directory, start, comment = struct.unpack("<4s4H2LH", end)
    if tail[:-22][-20:-16] == _ZIP64 or count == 0xFFFF or disk or first or here != count:
        raise WheelError("the archive is of a kind that no wheel needs (zip64, or several disks)", hint=_BUILD)
    if comment or start + directory + 22 != size:
        raise WheelError(_PACKED_TIGHT, hint=_BUILD)
    if count > limits.members:
        raise WheelError(
            f"the archive has {count:,} members, at most {limits.members:,} are allowed",
            hint="ship fewer files",
            too_large=True,
        )
    if directory > limits.members * _DIRECTORY_BYTES:
        raise WheelError(f"the archive's directory has {directory:,} bytes", hint=_BUILD, too_large=True)
    _check_directory(file, start, directory, count)
    return int(count)


def _check_directory(file: BinaryIO, start: int, length: int, count: int) -> None:
    """Short names, short extra fields, no comments: a long extra field takes a reader time by its length, squared."""
    file.seek(start)
    entries, position = file.read(length), 0
    for _ in range(count):
        if entries[position : position + 4] != _CENTRAL or position + 46 > length:
            raise WheelError(_CONTRADICTS, hint=_BUILD)
        name, extra, comment = struct.unpack_from("<3H", entries, position + 28)
        if name > _NAME or extra > _EXTRA or comment:
            raise WheelError("a member of the archive has a long name, a long extra field or a comment", hint=_BUILD)
        position += 46 + name + extra + comment
    if position != length:
        raise WheelError(_CONTRADICTS, hint=_BUILD)


def _check_member(info: zipfile.ZipInfo) -> None:
    name, mode = info.filename, info.external_attr >> 16
    if info.flag_bits & 0x2041:
        raise WheelError(f"{name!r} is encrypted", hint=_BUILD)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WheelError(f"{name!r} is compressed in a way that not everybody can read", hint=_BUILD)
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        raise WheelError(f"{name!r} is a symbolic link", hint="ship the file that it points to")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > name.endswith("/"):
        raise WheelError(f"{name!r} is not a plain file", hint=_BUILD)
    if info.is_dir() and info.file_size:
        raise WheelError(f"{name!r} is a folder that holds bytes", hint=_BUILD)
    # zipfile cuts a name at a NUL, and trusts a second name in an extra field of the kind 0x7075
    if info.orig_filename != name or _extra(info.extra, 0x7075):
        raise WheelError(f"{name!r} has two names", hint=_BUILD)


def _check_paths(names: list[str]) -> None:
    """No two members are one file on any system, and none lies in a file."""
    files = {name for name in names if not name.endswith("/")}
    spelled: dict[str, str] = {}
    if len(set(names)) != len(names):
        raise WheelError("a member appears twice in the archive", hint=_BUILD)
    for name in names:
        path = name.removesuffix("/")
        _check_path(path)
        parts = path.split("/")
        if len(parts) > _DEPTH:
            raise WheelError(f"{path[:80]!r} is not a path that may be unpacked: too deep", hint="flatten it")
        for length in range(1, len(parts) + 1):
            part = "/".join(parts[:length])
            if part in files and (length < len(parts) or name.endswith("/")):
                raise WheelError(f"{name!r} lies in a file", hint=_BUILD)
            if (other := spelled.setdefault(unicodedata.normalize("NFKC", part).casefold(), part)) != part:
                raise WheelError(f"{part!r} and {other!r} are one name on some systems", hint=_BUILD)


def _check_path(path: str) -> None:
    shown, hint = repr(path)[:200], "a wheel holds plain relative paths"
    if not path or len(path) > 500 or path.startswith("/"):
        raise WheelError(f"{shown} is not a path that may be unpacked", hint=hint)
    if any(unicodedata.category(one)[0] == "C" or one in _FOREIGN for one in path):
        raise WheelError(f"{shown} has characters that no path may have", hint=hint)
    for part in path.split("/"):
        if part in ("", ".", "..") or part != part.strip() or part.endswith(".") or len(part.encode()) > 255:
            raise WheelError(f"{shown} is not a path that may be unpacked", hint=hint)
        if re.search(r"~\d", part):
            raise WheelError(f"{shown} looks like a short name of Windows: {part}", hint="leave out the ~")
        if _DEVICES.fullmatch(part):
            raise WheelError(f"{shown} has a name that Windows reserves: {part}", hint=hint)


def _check_layout(file: BinaryIO, members: list[zipfile.ZipInfo], directory: int) -> None:
    """Members lie one behind the other from the first byte on, and each says of itself what the directory says."""
    position = 0
    for info in sorted(members, key=lambda item: item.header_offset):
        if info.header_offset != position:
            raise WheelError(_PACKED_TIGHT, hint=_BUILD)
        file.seek(position)
        header = file.read(30)
        if len(header) < 30 or header[:4] != _LOCAL:
            raise WheelError(f"{info.filename!r} has no header", hint=_BUILD)
        _, _, flags, method, _, _, crc, packed, size, long, extra = struct.unpack("<4s5H3L2H", header)
        name = file.read(long)
        try:
            own = name.decode("utf-8" if flags & 0x800 else "ascii")
        except UnicodeDecodeError:
            own = ""
        if own != info.filename or method != info.compress_type or (flags ^ info.flag_bits) & 0x2849:
            raise WheelError(f"{info.filename!r} has two names or forms", hint=_BUILD)
        if extra > _EXTRA:
            raise WheelError(f"{info.filename!r} has a long extra field", hint=_BUILD)
        field = file.read(extra)
        if _extra(field, 0x7075):
            raise WheelError(f"{info.filename!r} has two names", hint=_BUILD)
        later = bool(flags & 8)  # check sum and sizes follow the data
        sizes = (packed, size)
        if (wide := _extra(field, 1)) is not None and len(wide) >= 16 and sizes == (0xFFFFFFFF, 0xFFFFFFFF):
            size, packed = struct.unpack("<2Q", wide[:16])
            sizes = (packed, size)
        if not later and (*sizes, crc) != (info.compress_size, info.file_size, info.CRC):
            raise WheelError(f"{info.filename!r} has two sizes", hint=_BUILD)
        position += 30 + long + extra + info.compress_size
        if later:
            position += _descriptor(file, position, info)
    if position != directory:
        raise WheelError(_PACKED_TIGHT, hint=_BUILD)


def _descriptor(file: BinaryIO, position: int, info: zipfile.ZipInfo) -> int:
    """Length of what follows the data of a member that was written to a stream."""
    file.seek(position)
    found = file.read(24)
    for mark in (b"PK\x07\x08", b""):
        for form in ("<3L", "<L2Q"):
            try:
                wanted = mark + struct.pack(form, info.CRC, info.compress_size, info.file_size)
            except struct.error:
                continue
            if found.startswith(wanted):
                return len(wanted)
    raise WheelError(f"{info.filename!r} has two sizes", hint=_BUILD)


def _extra(field: bytes, wanted: int) -> bytes | None:
    """One extra field of a member, by its number."""
    while len(field) >= 4:
        number, length = struct.unpack("<2H", field[:4])
        if number == wanted:
            return field[4 : 4 + length]
        field = field[4 + length :]
    return None


__all__ = ["blocks", "open_archive", "read_member"]

"""``Private :: Do Not Upload``: the classifier that keeps a project off every index until `cogen publish` packs it.

PyPI refuses each upload whose metadata has a classifier that begins with ``Private ::``, and so does a registry of
CoGen. ``cogen new`` writes it into ``pyproject.toml``, so that nothing built by other tools leaves by accident: an
sdist above all, which would hold the texts that lie beside the package.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from pathlib import Path

MARK = "Private :: Do Not Upload"
_LINE = re.compile(rb"^classifier:[ \t]*private[ \t]*::[^\r\n]*\r?\n", re.IGNORECASE | re.MULTILINE)


def take_away(wheel: Path) -> bool:
    """Remove the classifier from a wheel's METADATA, and mend RECORD; whether it was there.

    All other bytes stay, in their order: the same wheel always becomes the same wheel.
    """
    with zipfile.ZipFile(wheel) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    metadata = next((m.filename for m, _ in members if re.fullmatch(r"[^/]+\.dist-info/METADATA", m.filename)), None)
    before = next((data for member, data in members if member.filename == metadata), b"")
    # The fields alone: the long text after the first empty line may say what it likes.
    fields = re.match(rb".*?(\r?\n(?=\r?\n)|\Z)", before, re.DOTALL)
    end = fields.end() if fields else len(before)
    after = _LINE.sub(b"", before[:end]) + before[end:]
    if metadata is None or after == before:
        return False
    record = metadata.removesuffix("METADATA") + "RECORD"
    part = wheel.with_name(f".{wheel.name}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for member, data in members:
            if member.filename == metadata:
                data = after
            elif member.filename == record:
                data = _recorded(data, metadata, after)
            archive.writestr(member, data, compress_type=member.compress_type)
    part.replace(wheel)
    return True


def _recorded(record: bytes, name: str, content: bytes) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    line = re.compile(rb"^" + re.escape(name).encode() + rb",[^\r\n]*", re.MULTILINE)
    return line.sub(f"{name},sha256={digest},{len(content)}".encode(), record)

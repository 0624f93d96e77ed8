"""The two digests: ``file`` (bytes as published) and ``weights`` (tensors after dequantizing)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cogen.errors import DigestError, SourceError
from cogen.files import sha256_of


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of one file.

    :raises SourceError: it cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check that the file exists") from error


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file, or of a folder.

    A folder's digest is the SHA-256 of one line ``<hex>  <relative path>\\n`` for every file in it,
    sorted by path: what ``sha256sum`` prints, so that anybody can check it without us. Hidden
    files and ``__pycache__`` don't count.

    :raises SourceError: a file cannot be read, or see :func:`files_of`.
    """
    if path.is_dir():
        lines = b"".join(_line(sha256_file(file), file.relative_to(path)) for file in files_of(path))
        return "sha256:" + hashlib.sha256(lines).hexdigest()
    return "sha256:" + sha256_file(path)


def files_of(folder: Path) -> list[Path]:
    """Every file of a folder that counts, sorted by its relative path; not hidden ones, and not ``__pycache__``.

    :raises SourceError: a link to a folder: its files could be opened by their names and would not count.
    """
    found = []
    for file in sorted(folder.rglob("*"), key=lambda item: item.relative_to(folder).as_posix()):
        if any(part.startswith((".", "__pycache__")) for part in file.relative_to(folder).parts):
            continue
        if file.is_symlink() and file.is_dir():
            raise SourceError(
                f"{ascii(file.name)[1:-1]} in {folder.name} is a link to a folder: its files would be in no digest",
                hint="put the folder itself there in the place of the link, or remove it",
            )
        if file.is_file():
            found.append(file)
    return found


def _line(digest: str, relative: Path) -> bytes:
    """As ``sha256sum`` prints it: a name with a line feed or a backslash is escaped, and cannot pass for two files."""
    name = relative.as_posix()
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = b"" if escaped == name else b"\\"
    return mark + digest.encode() + b"  " + escaped.encode("utf-8", "surrogateescape") + b"\n"


def check_file(path: Path, expected: str | None, what: str) -> None:
    """Raise :class:`DigestError` unless ``path`` has the digest that was promised."""
    if expected is None:
        return
    found = file_digest(path)
    if found != expected:
        raise DigestError(
            f"{what} is not the file that was published: digest {found[:19]}… where {expected[:19]}… was promised",
            hint="the file is damaged or was replaced; fetch it again (`cogen cache clear`), or ask its publisher",
        )


def weights_digest(tensors: Iterable[tuple[str, str, tuple[int, ...]]], read: Callable[[str], Any]) -> str:
    """Digest of tensors, whatever file format they lie in.

    :param tensors: (name, dtype, shape) of every tensor, in any order.
    :param read: gives the tensor's raw little-endian bytes as an object with the buffer interface.

    For every name in sorted order: the JSON of ``[name, dtype, shape]``, a newline, then the bytes.
    """
    digest = hashlib.sha256()
    for name, dtype, shape in sorted(tensors):
        digest.update(json.dumps([name, dtype, list(shape)], separators=(",", ":")).encode() + b"\n")
        digest.update(read(name))
    return "sha256:" + digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of what a tokenizer does: its vocabulary, model, normaliser, pre-tokenizer and special tokens.

    :param tokenizer: a ``transformers`` fast tokenizer.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend.pop("padding", None)
    backend.pop("truncation", None)
    specials = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    text = json.dumps([backend, specials], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

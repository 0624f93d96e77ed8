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
    """
    if path.is_dir():
        lines = []
        for file in sorted(path.rglob("*"), key=lambda item: item.relative_to(path).as_posix()):
            relative = file.relative_to(path)
            if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in relative.parts):
                lines.append(f"{sha256_file(file)}  {relative.as_posix()}\n")
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
    return "sha256:" + sha256_file(path)


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

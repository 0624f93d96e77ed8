"""The files of a model folder that are no weights: configuration, tokenizer, chat template, generation config.

They decide what the weights compute as much as the weights do. A published folder's file digest covers them; this is
for folders that CoGen makes itself, and for locks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from cogen.checkpoints.digests import files_of, sha256_file
from cogen.errors import DigestError
from cogen.spec.expert import canonical_digest

#: What CoGen notes beside what it converted.
RECORD = "gguf.json"
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack")
#: Files for people, and the list of the shards, which follows from the weights.
_OTHERS = (RECORD, ".gitattributes", "model.safetensors.index.json")
#: Fields of a JSON file that say who wrote it.
_WRITER = ("transformers_version", "_name_or_path")


def side_files(folder: Path) -> dict[str, str]:
    """Relative path → digest of what each file says, sorted: a JSON file's of its content, however it is written.

    :raises SourceError: a file cannot be read, or see :func:`cogen.checkpoints.digests.files_of`.
    """
    return {path.relative_to(folder).as_posix(): _digest(path) for path in _files(folder)}


def check_side_files(folder: Path, recorded: Mapping[str, str], what: str) -> None:
    """
    :param recorded: of :func:`side_files`, when the folder was made.
    :raises DigestError: a file of it was changed, removed or added since.
    """
    if wrong := differing(recorded, side_files(folder)):
        raise DigestError(
            f"{what} was altered since it was made: {wrong[0]} is another file ({folder})",
            hint="remove that folder (`cogen cache clear` removes all of them), and it is made again",
        )


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of the files that only one has, or that say something else, sorted."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _files(folder: Path) -> Iterator[Path]:
    for path in files_of(folder):
        people = path.suffix == ".md" or path.name.startswith(("LICENSE", "NOTICE"))
        if not (people or path.suffix in _WEIGHTS or path.name in _OTHERS):
            yield path


def _digest(path: Path) -> str:
    if path.suffix == ".json":
        try:
            value = json.loads(path.read_bytes())
            if isinstance(value, dict):
                return canonical_digest({key: inner for key, inner in value.items() if key not in _WRITER})
        except (OSError, ValueError, RecursionError, TypeError):
            pass  # as bytes, then
    return "sha256:" + sha256_file(path)

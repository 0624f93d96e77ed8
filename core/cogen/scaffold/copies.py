"""Files of a model copied into a package: their bytes, without what they say of the machine that they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath

from cogen.checkpoints.links import leads_out
from cogen.checkpoints.safetensors_file import read_notes
from cogen.errors import UnsafeError

#: Configurations that libraries write paths into: where they loaded the base or a tokenizer from.
_CONFIGURATIONS = ("config.json", "generation_config.json", "tokenizer_config.json", "adapter_config.json")
_PATHS = ("_or_path", "_file", "_path", "_dir")


def copy_model_file(file: Path, folder: Path, target: Path) -> None:
    """Copy one file of ``folder`` into ``target``.

    A configuration loses absolute paths; safetensors lose what a trainer wrote into their header (captions, folders
    of training data). Tensors keep every bit.

    :raises UnsafeError: it is a link to a file outside of the folder, and no weights.
    """
    if file.suffix == ".safetensors":
        _copy_tensors(file, target / file.name)
        return
    if leads_out(file, folder):
        raise UnsafeError(
            f"{file.name} in {folder.name} is a link to a file outside of it, which would be published",
            hint="put a copy of the file in its place, if it is meant",
        )
    if file.name in _CONFIGURATIONS and (text := _without_paths(file)) is not None:
        (target / file.name).write_text(text, encoding="utf-8")
        return
    shutil.copyfile(file, target / file.name)


def _without_paths(file: Path) -> str | None:
    """The configuration without absolute paths; ``None``: it has none, or is no JSON object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    kept = (
        {key: value for key, value in found.items() if not _is_path(key, value)} if isinstance(found, dict) else found
    )
    return None if kept == found else json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def _is_path(key: str, value: object) -> bool:
    if not key.endswith(_PATHS) or not isinstance(value, str):
        return False
    return value.startswith("~") or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def _copy_tensors(file: Path, target: Path) -> None:
    """The offsets of a header begin behind it: with a shorter one, the bytes of the tensors are the same."""
    if not read_notes(file).keys() - {"format"}:
        shutil.copyfile(file, target)
        return
    with file.open("rb") as old, target.open("wb") as new:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        notes = header.pop("__metadata__")
        if "format" in notes:
            header = {"__metadata__": {"format": notes["format"]}} | header
        data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        data += b" " * (-len(data) % 8)
        new.write(len(data).to_bytes(8, "little") + data)
        shutil.copyfileobj(old, new)

"""What is exported: a model folder, whose kinds that have no export are refused by name."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.json_files import read_object
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.errors import CompatibilityError, DigestError, UnsafeError, UsageError
from cogen.merging.vocabulary.tokens import read_settings

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock


@dataclass(frozen=True)
class ExportSource:
    """A folder whose weights are in a floating-point type, and its lock if `cogen fuse` wrote it."""

    folder: Path
    checkpoint: Checkpoint
    lock: Lock | None

    @property
    def name(self) -> str:
        """The folder's name: the exported files begin with it."""
        return self.folder.resolve().name

    @property
    def config(self) -> dict[str, Any]:
        return self.checkpoint.config

    @property
    def strategy(self) -> str:
        """``merge``, ``moe``, ``distill``; "model" of a folder without a lock."""
        return "model" if self.lock is None else self.lock.plan.strategy

    @functools.cached_property
    def dtype(self) -> str:
        """The type of most of the elements."""
        sizes: dict[str, int] = {}
        for info in self.checkpoint.tensors.values():
            sizes[info.dtype] = sizes.get(info.dtype, 0) + info.numel
        return max(sorted(sizes), key=lambda name: sizes[name])

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return sum(info.stop - info.start for info in self.checkpoint.tensors.values())


def open_source(folder: Path) -> ExportSource:
    """
    :raises UsageError: no model folder.
    :raises CompatibilityError: a route, an adapter, or weights that are quantized already.
    :raises DigestError: weights or configuration are not those of the lock, whose figures the card would repeat.
    """
    from cogen.artifacts.lock import LOCK_NAME, read_lock

    if (folder / "route.json").is_file():
        raise CompatibilityError(
            f"{folder} is a route: it names experts and has no weights of its own to export",
            hint="export the experts one by one, or serve the route: cogen serve " + str(folder),
        )
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} is not a model folder", hint="name a folder that `cogen fuse` or `cogen merge` wrote"
        )
    found = _quantization(folder)
    if found is not None:
        raise CompatibilityError(
            f"{folder} is quantized already ({found})", hint="export the composite that it was made of"
        )
    _check_code(folder)
    checkpoint = open_folder(folder)
    lock = read_lock(folder / LOCK_NAME) if (folder / LOCK_NAME).is_file() else None
    if lock is not None:
        _check_unchanged(lock, folder)
    return ExportSource(folder, checkpoint, lock)


def _check_unchanged(lock: Lock, folder: Path) -> None:
    from cogen.artifacts.lock import LOCK_NAME, verify

    wrong = [name for name in verify(lock, folder) if name.endswith(".safetensors") or name == "config.json"]
    if wrong := [name for name in wrong if name in lock.files]:
        raise DigestError(
            f"{wrong[0]} of {folder} is not the file that {LOCK_NAME} names: it is damaged, or was changed since",
            hint=f"build it again: cogen fuse --lock {folder / LOCK_NAME} -o again; changed on purpose? remove "
            f"{LOCK_NAME}, whose figures are not its own any more",
        )


def _quantization(folder: Path) -> str | None:
    """The ``quant_method`` of a configuration."""
    try:
        config = read_object(folder / "config.json")
    except (OSError, ValueError):  # open_folder says so
        return None
    settings = config.get("quantization_config")
    return str(settings.get("quant_method", "unknown method")) if isinstance(settings, dict) else None


def _check_code(folder: Path) -> None:
    """The converters of other projects run code that a model brings: a folder that asks for it is not shown to them.

    :raises UnsafeError: ``auto_map`` in a configuration.
    """
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in read_settings(folder, name):
            raise UnsafeError(
                f"{folder} asks for remote code (auto_map in {name})",
                hint="code that comes with weights is never run; remove auto_map if transformers has the architecture",
            )


@contextlib.contextmanager
def plain_view(source: ExportSource) -> Iterator[Path]:
    """A temporary folder with links to the model's weights, configuration and tokenizer, and nothing else."""
    from cogen.merging.writer import copy_model_files

    with tempfile.TemporaryDirectory(prefix="cogen-export-") as name:
        view = Path(name) / source.name
        view.mkdir()
        copy_model_files(source.folder, view)
        for file in sorted({info.file for info in source.checkpoint.tensors.values()}):
            (view / file.name).symlink_to(file.resolve())
        index = source.folder / "model.safetensors.index.json"
        if index.is_file():
            (view / index.name).symlink_to(index.resolve())
        yield view

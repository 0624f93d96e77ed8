"""The files of a checkpoint folder: weights in one file or in shards, and everything that belongs to them.

Whatever writes a checkpoint ends with :func:`finish_model_files`, by :func:`copy_model_files` or directly.
"""

from __future__ import annotations

import errno
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogen.checkpoints.common_form import write_common_form
from cogen.checkpoints.quantized import without_quantization
from cogen.checkpoints.safetensors_file import read_folder
from cogen.errors import CogenError, UsageError
from cogen.merging.engine import Engine, OutputTensor
from cogen.merging.side_files import copy_side_files
from cogen.system_errors import describe

#: Default size limit of a weights file; larger checkpoints are written in shards, as the Hub requires.
SHARD_BYTES = 5_000_000_000
#: Which tensor lies in which file.
INDEX = "model.safetensors.index.json"
#: Configuration and tokenizer files that are copied with the weights of a model, where it has them.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


def write_outputs(
    outputs: Sequence[OutputTensor], engine: Engine, folder: Path, shard_bytes: int | None = None
) -> None:
    """The weights of a checkpoint folder: one file or shards, and always an index, so that no engine has to guess which
    files hold weights.

    :raises CogenError: the disk is full, or cannot be written to.
    """
    needed = sum(output.nbytes for output in outputs)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _disk_full(folder, needed)
    shards = _split_into_shards(outputs, shard_bytes or SHARD_BYTES)
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        for i in range(len(shards))
    ]
    try:
        for file, members in zip(names, shards, strict=True):
            engine.write(members, folder / file, {"format": "pt"})
        where = {output.name: file for file, members in zip(names, shards, strict=True) for output in members}
        write_index(where, needed, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(folder, needed) from error
        wrong, hint = describe(error)
        raise CogenError(f"{folder.parent} cannot be written: {wrong}", hint=hint) from error


def write_index(where: Mapping[str, str], size: int, folder: Path) -> None:
    """``model.safetensors.index.json``.

    :param where: tensor → file that holds it; ``size``: bytes of all tensors.
    """
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def index_folder(folder: Path) -> None:
    """The index of weights that another library wrote."""
    tensors = read_folder(folder)
    size = sum(info.stop - info.start for info in tensors.values())
    write_index({name: info.file.name for name, info in tensors.items()}, size, folder)


def copy_model_files(source: Path, folder: Path) -> None:
    """Copy the configuration and tokenizer of a model folder, and what lies beside them, where it has them, in the form
    that most readers know; weights are written dequantized."""
    for name in MODEL_FILES:
        if (source / name).is_file():
            copy_model_file(source / name, folder / name)
    copy_side_files(source, folder)
    finish_model_files(folder)


def copy_model_file(source: Path, target: Path) -> None:
    """One of them. What a ``config.json`` says of quantization does not hold for what is written."""
    if source.name == "config.json":
        config = json.loads(source.read_text(encoding="utf-8"))
        if (plain := without_quantization(config)) != config:
            target.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return
    shutil.copyfile(source, target)


def finish_model_files(folder: Path, config: Mapping[str, Any] | None = None) -> None:
    """The last step of every checkpoint that CoGen writes: see :mod:`cogen.checkpoints.common_form`.

    :param config: in the place of the ``config.json`` that lies there.
    """
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    write_common_form(folder)


def _disk_full(folder: Path, needed: int) -> CogenError:
    free = shutil.disk_usage(folder).free
    return CogenError(
        f"the disk is full: {math.ceil(needed / 1e6):,} MB are needed and {free // 1_000_000:,} MB are free",
        hint="free some space, or give a folder on another disk with -o",
    )


def _split_into_shards(outputs: Sequence[OutputTensor], limit: int) -> list[list[OutputTensor]]:
    """In the order of names; a tensor larger than the limit has a shard to itself."""
    shards: list[list[OutputTensor]] = [[]]
    left = limit
    for output in sorted(outputs, key=lambda output: output.name):
        if shards[-1] and output.nbytes > left:
            shards.append([])
            left = limit
        shards[-1].append(output)
        left -= output.nbytes
    return shards


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_size(text: str) -> int:
    """Bytes of ``2GB``, ``500M``, ``1GiB`` or a plain number.

    :raises UsageError: the text is not a size. (mergekit's ``5B`` means billions of parameters: write 5GB.)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT]I?)B?)?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if size < 1:
        raise UsageError(f"{text!r} is not a size", hint="for example --shard-size 2GB")
    return size

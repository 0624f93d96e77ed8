"""``cogen.merge``: carry out a mergekit recipe; no plugin and no evaluation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.api.options import PathLike
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.merging.mergekit.run import Merged as MergeResult

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def read_size(text: str) -> int:
    """Bytes of ``2GB``, ``500M``, ``1GiB`` or a plain number.

    :raises UsageError: it is none of those. (mergekit's ``5B`` means billions of something: write 5GB.)
    """
    from cogen.errors import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT]I?)B?)?", text.strip().upper())
    found = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if found < 1:
        raise UsageError(f"{text!r} is not a size", hint="for example --shard-size 2GB")
    return found


def merge(
    config: PathLike,
    output: PathLike,
    *,
    threads: int | None = None,
    shard_size: str | int | None = None,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> MergeResult:
    """Merge checkpoints as a mergekit configuration says, into the folder ``output``.

    :param config: a YAML file.
    :param threads: the result is the same with any number; left out: as many as the machine has.
    :param shard_size: the largest file to write, as bytes or such as "2GB"; left out: 5 GB.
    :param seed: of the methods that drop at random.
    :raises CogenError: the configuration cannot be carried out; nothing is left behind.
    """
    require("fuse", "cogen.merge")
    from cogen.merging.mergekit.run import merge_recipe

    limit = read_size(shard_size) if isinstance(shard_size, str) else shard_size
    return merge_recipe(
        Path(config), Path(output), threads=threads, shard_bytes=limit, seed=seed, progress=reporter, talk=reporter.note
    )

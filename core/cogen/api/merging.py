"""``cogen.merge``: merge checkpoints by a recipe in mergekit's format, without plugins and without evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cogen.api.checks import as_host, as_path, check_number, check_reporter
from cogen.api.options import PathLike
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.host import Host
    from cogen.merging import MergeResult, Method


def merge(
    config: PathLike | Mapping[str, Any],
    output: PathLike,
    *,
    threads: int | None = None,
    shard_size: int | str | None = None,
    seed: int | None = None,
    replace: bool = False,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> MergeResult:
    """Merge models by a recipe in mergekit's format and write a checkpoint folder.

    The same as :func:`cogen.merging.merge`, and recipes may name methods of installed plugins.

    :param config: the path of a YAML file, or the same as a mapping.
    :param output: created, or replaced if it holds an earlier result of the same recipe; written as a whole or not at
        all.
    :param threads: default: all usable cores. The result does not depend on it.
    :param shard_size: largest weights file, in bytes or as ``"2GB"``; default 5 GB.
    :param seed: of methods that drop differences at random; default 0.
    :param replace: replace what another recipe gave, too.
    :raises CogenError: the recipe cannot be carried out; nothing is left behind.
    """
    from cogen.extras import require

    require("fuse", "cogen.merge")
    check_reporter(reporter)
    if threads is not None:
        check_number("threads", threads, 1, whole=True)
    if seed is not None:
        check_number("seed", seed, 0, whole=True)
    if not isinstance(shard_size, str | None):
        check_number("shard_size", shard_size, 1, whole=True)
    source = config if isinstance(config, str | Mapping) else as_path("config", config)
    folder = as_path("output", output)
    from cogen.merging import merge as run

    def find_method(name: str) -> Method | None:
        from cogen.fusion.merge.lookup import find_method

        found = as_host(host)
        return find_method(found, name) if name in found.methods() else None

    return run(
        source,
        folder,
        threads=threads,
        shard_size=shard_size,
        seed=seed,
        replace=replace,
        find_method=find_method,
        reporter=reporter,
    )

"""`cogen merge`: merge models by a recipe in mergekit's format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.options import Replace
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter


def command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Recipe in mergekit's format (YAML).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    shard_size: Annotated[
        str | None, typer.Option("--shard-size", metavar="SIZE", help="Largest weights file, e.g. 2GB (default: 5GB).")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, metavar="N", help="Seed of methods that drop at random (default: 0)."),
    ] = None,
    replace: Replace = False,
) -> None:
    """Merge models by a recipe in mergekit's format. No plugin is needed, and nothing is evaluated.

    The folder gets the weights, config, tokenizer, a model card and merge.json, which lists what was done per tensor.
    """
    from cogen.api.merging import merge

    with CommandReporter("merging") as reporter:
        result = merge(config, output, shard_size=shard_size, seed=seed, replace=replace, reporter=reporter)
    peak = peak_memory()
    memory = "" if peak is None else f", peak memory {peak / 1e9:.2f} GB"
    out.success(
        f"wrote {output}: {result.tensors} tensors, {result.bytes / 1e6:,.1f} MB, {result.seconds:.1f} s{memory}"
    )
    out.text(f"evaluate it: cogen eval {output}; chat with it: cogen chat {output}")
    out.result(
        {
            "folder": str(output),
            "tensors": result.tensors,
            "copied": result.copied,
            "bytes": result.bytes,
            "seconds": result.seconds,
            "peak_memory": peak,
            "notes": result.notes,
        }
    )


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes; ``None`` where the system does not report it."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage on Linux includes the parent's peak from before the fork
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS

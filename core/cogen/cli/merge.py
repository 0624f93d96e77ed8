"""`cogen merge`: carry out a mergekit configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out
from cogen.cli.progress import CommandReporter


def command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A mergekit configuration (YAML).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="Threads; the result is the same.")
    ] = None,
    shard_size: Annotated[
        str | None, typer.Option("--shard-size", metavar="SIZE", help="Largest file, such as 2GB. Default: 5GB.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Of methods that drop parameters at random.")
    ] = 0,
) -> None:
    """Merge checkpoints as a mergekit configuration says. No plugin is needed, and nothing is measured."""
    from cogen.api.merging import merge

    with CommandReporter("merging") as reporter:
        done = merge(config, output, threads=threads, shard_size=shard_size, seed=seed, reporter=reporter)
    peak = peak_memory()
    memory = "" if peak is None else f", {peak / 1e9:.2f} GB of memory at most"
    out.success(f"wrote {output}: {done.tensors} tensors, {done.bytes / 1e6:,.1f} MB, {done.seconds:.1f} s{memory}")
    out.text(f"measure it: cogen eval {output}; talk to it: cogen chat {output}")
    out.result(
        {
            "folder": str(output),
            "tensors": done.tensors,
            "copied": done.copied,
            "bytes": done.bytes,
            "seconds": done.seconds,
            "peak_memory": peak,
            "notes": done.notes,
        }
    )


def peak_memory() -> int | None:
    """Bytes that this process had at most; ``None`` where the system doesn't say."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage on Linux counts what the parent had before it started us
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS

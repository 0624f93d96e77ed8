"""`cogen fuse --from-mergekit`: carry out a recipe of mergekit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli.output import out

Recipe = Annotated[
    Path | None,
    typer.Option("--from-mergekit", help="Carry out a recipe of mergekit (YAML) instead: no plugin, no evaluation."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="With --from-mergekit: threads; the result is the same.")
]
ShardSize = Annotated[
    str | None, typer.Option("--shard-size", help="With --from-mergekit: largest file, e.g. 2GB (default: 5GB).")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="With --from-mergekit: of methods that drop at random (default: 0).")
]
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def check_alone(recipe: Path | None, others: dict[str, Any], own: dict[str, Any]) -> None:
    """:raises UsageError: options of the two ways to fuse are mixed; ``others`` and ``own`` are what was given."""
    from cogen.errors import UsageError

    given = [
        option
        for option, value in (others if recipe else own).items()
        if value not in (None, [], ()) and value is not False
    ]
    if given and recipe:
        raise UsageError(f"{given[0]} does not go with --from-mergekit", hint="the recipe says what is merged and how")
    if given:
        raise UsageError(f"{given[0]} goes with --from-mergekit only", hint="leave it out")


def run(recipe: Path, output: Path, threads: int | None, shard_size: str | None, seed: int | None) -> None:
    """Merge, and say what was written."""
    from cogen.merging.mergekit.run import merge_recipe

    limit = None if shard_size is None else size(shard_size)
    with out.progress(None, "merging", unit="tensors") as bar:
        done = merge_recipe(
            recipe, output, threads=threads, shard_bytes=limit, seed=seed or 0, progress=bar, talk=out.status
        )
    peak = peak_memory()
    told = "" if peak is None else f", {peak / 1e9:.2f} GB of memory at most"
    out.success(f"wrote {output}: {done.tensors} tensors, {done.bytes / 1e6:,.1f} MB, {done.seconds:.1f} s{told}")
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


def size(text: str) -> int:
    """Bytes of ``2GB``, ``500M``, ``1GiB`` or a plain number.

    :raises UsageError: it is none of those. (mergekit's ``5B`` means billions of something: write 5GB.)
    """
    from cogen.errors import UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT]I?)B?)?", text.strip().upper())
    found = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if found < 1:
        raise UsageError(f"{text!r} is not a size", hint="for example --shard-size 2GB")
    return found


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

"""`cogen merge`: merge models by a recipe in mergekit's format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.merging.method import Method

Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads (default: all cores); same result.")]
ShardSize = Annotated[str | None, typer.Option("--shard-size", help="Largest weights file, e.g. 2GB (default: 5GB).")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of methods that drop at random (default: 0).")]
#: The alias `cogen fuse --from-mergekit`.
Recipe = Annotated[Path | None, typer.Option("--from-mergekit", hidden=True, help="Use `cogen merge CONFIG` instead.")]
FuseThreads = Annotated[int | None, typer.Option("--threads", min=1, hidden=True)]
FuseShardSize = Annotated[str | None, typer.Option("--shard-size", hidden=True)]
FuseSeed = Annotated[int | None, typer.Option("--seed", min=0, hidden=True)]


def command(
    config: Annotated[Path, typer.Argument(help="Recipe in mergekit's format (YAML).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    threads: Threads = None,
    shard_size: ShardSize = None,
    seed: Seed = None,
) -> None:
    """Merge models by a recipe in mergekit's format. No plugin is needed, and nothing is evaluated.

    The folder gets the weights, config, tokenizer, a model card and merge.json, which lists what was done per tensor.
    """
    run(config, output, threads, shard_size, seed)


def check_alone(recipe: Path | None, others: dict[str, Any], own: dict[str, Any]) -> None:
    """Check the alias `cogen fuse --from-mergekit`: ``others`` and ``own`` are the options that were given.

    :raises UsageError: options of the two commands are mixed.
    """
    from cogen.errors import UsageError

    given = [
        option
        for option, value in (others if recipe else own).items()
        if value not in (None, [], ()) and value is not False
    ]
    if given and recipe:
        raise UsageError(f"{given[0]} does not go with --from-mergekit", hint="use `cogen merge CONFIG -o DIR`")
    if given:
        raise UsageError(f"{given[0]} is an option of `cogen merge`", hint="remove it")


def run_alias(recipe: Path, output: Path, threads: int | None, shard_size: str | None, seed: int | None) -> None:
    """`cogen fuse --from-mergekit`: the same as `cogen merge`, with a notice."""
    out.warn("`cogen fuse --from-mergekit` is deprecated: use `cogen merge CONFIG -o DIR`")
    run(recipe, output, threads, shard_size, seed)


def run(config: Path, output: Path, threads: int | None, shard_size: str | None, seed: int | None) -> None:
    """Merge and print the result."""
    from cogen.merging import merge

    with out.progress(None, "merging", unit="tensors") as bar:
        result = merge(
            config,
            output,
            threads=threads,
            shard_size=shard_size,
            seed=seed,
            find_method=_plugin_method,
            reporter=MergeProgress(bar),
        )
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


class MergeProgress:
    """A progress bar as a reporter whose notes are printed on stderr."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    @property
    def total(self) -> float | None:
        """Number of tensors."""
        total: float | None = self._bar.total
        return total

    @total.setter
    def total(self, value: float | None) -> None:
        self._bar.total = value

    def describe(self, label: str) -> None:
        self._bar.describe(label)

    def advance(self, n: float = 1) -> None:
        self._bar.advance(n)

    def note(self, text: str) -> None:
        out.status(text)


def _plugin_method(name: str) -> Method | None:
    """A method that an installed plugin registers."""
    from cogen.host import Host
    from cogen.merging.method import Method, whole_tensor

    registered = Host.discover().methods()
    if name not in registered:
        return None
    found = Host.resolve(registered[name])
    return found if isinstance(found, Method) else whole_tensor(name, found)


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

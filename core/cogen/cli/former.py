"""Options of `cogen fuse` that became verbs of their own; they still work, with a notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.arguments import renamed


@dataclass(frozen=True)
class FormerVerbs:
    """Hidden options of `cogen fuse`."""

    onto: Annotated[Path | None, typer.Option("--onto", hidden=True)] = None
    add: Annotated[list[str] | None, typer.Option("--add", hidden=True)] = None
    remove: Annotated[list[str] | None, typer.Option("--remove", hidden=True)] = None
    from_mergekit: Annotated[Path | None, typer.Option("--from-mergekit", hidden=True)] = None
    shard_size: Annotated[str | None, typer.Option("--shard-size", hidden=True)] = None
    seed: Annotated[int | None, typer.Option("--seed", min=0, hidden=True)] = None

    def run(self, others: Mapping[str, object], output: Path | None, level: str | None) -> bool:
        """Carry out the verb that is meant, and say its name; False: none of them is.

        :param others: the other arguments of `cogen fuse`, by name.
        :raises UsageError: options of two verbs are mixed.
        """
        from cogen.errors import UsageError

        given = [name for name, value in others.items() if value]
        changes = [*(f"--add {id}" for id in self.add or ()), *(f"--remove {id}" for id in self.remove or ())]
        mergekit = {"--shard-size": self.shard_size, "--seed": self.seed}
        alone = [name for name, value in mergekit.items() if value is not None]
        if self.from_mergekit is not None:
            given += ["--onto"] if self.onto else [change.split()[0] for change in changes]
            if given:
                raise UsageError(f"{given[0]} does not go with --from-mergekit", hint="use `cogen merge CONFIG -o DIR`")
            self._merge(output or Path("composite"))
            return True
        if alone:
            raise UsageError(f"{alone[0]} is an option of `cogen merge`", hint="remove it")
        if self.onto is None:
            if changes:
                raise UsageError(
                    "--add and --remove change a composite", hint=f"cogen update COMPOSITE {changes[0]} -o DIR"
                )
            return False
        if not changes or [name for name in given if name != "--level"]:
            raise UsageError(
                "--onto goes with --add and --remove alone: all else is as its lock says",
                hint="see `cogen update --help`, or fuse anew without --onto",
            )
        if output is None:
            raise UsageError("--onto needs a folder for the new composite", hint="name it: -o smaller")
        renamed("cogen fuse --onto", f"cogen update {self.onto} {' '.join(changes)} -o {output}")
        from cogen.cli.update import command as update

        update(self.onto, output, add=self.add, remove=self.remove, level=level, replace=True)  # as it did
        return True

    def _merge(self, output: Path) -> None:
        from cogen.cli.merge import command as merge

        renamed("cogen fuse --from-mergekit", f"cogen merge {self.from_mergekit} -o {output}")
        assert self.from_mergekit is not None
        merge(self.from_mergekit, output, shard_size=self.shard_size, seed=self.seed, replace=True)  # as it did

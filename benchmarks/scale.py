"""Many experts: what planning and building take with 10, 100 and 1,000, and how well counts of tokens route among them.

    python benchmarks/scale.py build --json build.json
    python benchmarks/scale.py build --experts 1000 --only plan-moe
    python benchmarks/scale.py routing --json routing.json
    python benchmarks/scale.py routing --experts 800 --least 12000 --ranks 32 64 128

``build`` makes synthetic experts over a tiny random base and runs `cogen` on them. ``routing`` takes the docstrings of
installed Python modules as domains (see scaling/domains.py) and the tokenizer of the reference experts' base; no model
is run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from scaling.plugins import id_of, install, make_base
from scaling.processes import bytes_in, measured

#: What is measured, in this order; the first listing fills the host's index of manifests.
COMMANDS = {
    "first list": ["list"],
    "list": ["list"],
    "plan-merge": ["plan", "--strategy", "merge", "--scale", "0.5", "--level", "none", "--json"],
    "plan-moe": ["plan", "--strategy", "moe", "--routing", "prefix", "--level", "none", "--json"],
    "fuse-merge": ["fuse", "--strategy", "merge", "--scale", "0.5", "--level", "none", "--json"],
    "fuse-moe": ["fuse", "--strategy", "moe", "--routing", "prefix", "--level", "none", "--json"],
}


def build(count: int, only: list[str], work: Path) -> dict[str, Any]:
    """Every command with ``count`` installed experts, each in a process of its own."""
    folder = work / f"experts-{count}"
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "site").mkdir(parents=True)
        # In a process of its own: the peak memory that the system reports of a child is at least its parent's.
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, count))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(f"making {count} experts failed")
        (folder / "done").touch()
    ids = [id_of(number) for number in range(count)]  # other experts may be installed here
    found: dict[str, Any] = {"experts": count}
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    for name, arguments in COMMANDS.items():
        if only and name not in only:
            continue
        out = folder / name
        shutil.rmtree(out, ignore_errors=True)
        output = ["-o", str(out)] if name.startswith("fuse") else []
        named = ids if arguments != ["list"] else []
        found[name] = measured([*arguments, *named, *output], folder / "site", cache)
        if output:
            found[name]["bytes"] = bytes_in(out)
            shutil.rmtree(out)
        print(line(count, name, found[name]), flush=True)
    return found


def make(folder: Path, count: int) -> None:
    """The base and ``count`` installed experts."""
    install(folder / "site", count, make_base(folder / "base"))


def routing(arguments: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Every design with so many domains, drawn at random; few domains are drawn several times."""
    from scaling.routing import encoded, measure

    found: list[dict[str, Any]] = []
    every, general = encoded(work, arguments.least, arguments.documents)
    print(f"{len(every)} domains, {sum(len(one.documents) for one in every)} held-out documents", flush=True)
    for count in (count for count in arguments.experts if count <= len(every)):
        for row in measure(every, general, count, arguments.ranks):
            found.append(row)
            print(row["line"], flush=True)
    return found


def line(count: int, name: str, figures: dict[str, Any]) -> str:
    """One measured command in words."""
    written = f", writes {figures['bytes']['total'] / 1e6:,.1f} MB" if "bytes" in figures else ""
    return (
        f"{count:>5} experts: {name:<11} {figures['wall']:7.1f} s wall, {figures['cpu']:7.1f} s of CPU, "
        f"{figures['peak_bytes'] / 1e6:7,.0f} MB{written}"
    )


def main() -> int:
    """Run what was asked for, print it, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["build", "routing"])
    parser.add_argument(
        "--experts", type=int, nargs="*", help="how many; default: 10 100 1000, and of domains 5 to 400"
    )
    parser.add_argument("--least", type=int, default=24_000, help="routing: characters of docstrings of a domain")
    parser.add_argument("--documents", type=int, default=4, help="routing: held-out documents of a domain")
    parser.add_argument("--ranks", type=int, nargs="*", default=[8, 16, 32, 64, 128], help="routing: dimensions to try")
    parser.add_argument("--only", nargs="*", default=[], choices=list(COMMANDS), help="only these commands")
    parser.add_argument("--work", type=Path, help="folder for synthetic experts and results; default: a temporary one")
    parser.add_argument("--json", type=Path, help="write all figures there")
    arguments = parser.parse_args()
    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    with tempfile.TemporaryDirectory() as folder:
        work = (arguments.work or Path(folder)).resolve()
        if arguments.part == "build":
            facts["build"] = [build(count, arguments.only, work) for count in arguments.experts or (10, 100, 1000)]
        else:
            arguments.experts = arguments.experts or [5, 10, 30, 100, 300, 400]
            facts["routing"] = routing(arguments, work)
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

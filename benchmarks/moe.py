"""The sparse composite beside all else that can be made of the same experts.

    python benchmarks/moe.py quality --json moe.json      # the table; an hour and a half on two cores
    python benchmarks/moe.py cost --json cost.json        # assembly against cp, memory, tokens a second

``quality``: bits per byte on every expert's test text and on general text. Rows: the base, every specialist, the
mixture with each routing, the best of the merge engine's methods (chosen on the dev parts, as all choices), the uniform
ensemble of outputs, routing of whole documents, the oracle that knows the domain, and mergekit-moe with hidden gates.
Exit code 1 if no mixture meets the targets: every domain within 2 % of its specialist, general text at most 1 % worse
than the base, every domain better than the best merge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from merging.peer import Mergekit
from mixing import peer
from mixing.cogen import cogen, dense, experts, geometric, measured
from mixing.cost import cost

#: Methods that the best merge is chosen from; each with the scales that the planner searches over.
METHODS = ("task_arithmetic", "ties", "dare_ties", "sce")


def best_merge(ids: list[str], work: Path, level: str) -> tuple[str, dict[str, Any]]:
    """The method and scale with the least mean bits per byte on the dev parts, measured on the test parts."""
    found: list[tuple[float, str, float]] = []
    for method in METHODS:
        out = work / f"merge-{method}"
        result = cogen("fuse", *ids, "--strategy", "merge", "--method", method, "--level", "quick", "-o", str(out))
        tried = [(t["objective"], method, t["scale"]) for t in result["trials"] if t["objective"] is not None]
        # A method without a scale has one candidate, and no search measured it.
        tried = tried or [(geometric(measured(out, "quick", "dev"), ids), method, result["scale"])]
        found.append(min(tried))
        print(f"merge, {method}: dev {found[-1][0]:.4f} at scale {found[-1][2]:g}", file=sys.stderr)
    _, method, scale = min(found)
    out = work / "best-merge"
    cogen(
        "fuse",
        *ids,
        "--strategy",
        "merge",
        "--method",
        method,
        "--scale",
        f"{scale:g}",
        "--level",
        "none",
        "-o",
        str(out),
    )
    return f"best merge ({method}, scale {scale:g})", measured(out, level)


def quality(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every row of the table."""
    work, level = arguments.work, arguments.level
    ids = arguments.experts or experts()
    # The route's matrix has the base and every specialist, the ensemble and the oracle.
    route = ("--strategy", "route", "--matrix", "full", "--level", level, "-o", str(work / "route"))
    routed = cogen("fuse", *ids, *route)["matrix"]
    rows = {row: routed[row] for row in ("base", *ids)}
    seconds = {}
    for routing in ("prefix", "hidden", "embedding", "trained", *(["anchored"] if arguments.anchored else [])):
        out = work / f"moe-{routing}"
        names = arguments.anchored if routing == "anchored" else ids
        built = cogen("fuse", *names, "--strategy", "moe", "--routing", routing, "--level", "none", "-o", str(out))
        seconds[routing] = built["seconds"]
        rows[f"moe, {routing}"] = measured(out, level)
    # Anchored experts are other specialists on the same texts.
    rows |= {id: measured(dense(work / "dense", id), level) for id in arguments.anchored or ()}
    name, cells = best_merge(ids, work, level)
    rows[name] = cells
    rows |= {row: routed[row] for row in ("route", "ensemble", "oracle") if row in routed}
    if not arguments.alone:
        rows |= beside_mergekit(ids, work, level, arguments.peer_env)
    return {"rows": rows, "experts": ids, "best_merge": name, "seconds": seconds}


def beside_mergekit(ids: list[str], work: Path, level: str, environment: Path | None) -> dict[str, Any]:
    """mergekit-moe with hidden gates, with the base as one of its experts as in ours."""
    from cogen.evals import calibration_texts
    from cogen.fusion.samples import sample_texts
    from cogen.host import Host

    host = Host.discover()
    prompts = {"base": calibration_texts()} | {id: sample_texts(host.expert(id)) for id in ids}
    folders = {"base": dense(work / "dense")} | {id: dense(work / "dense", id) for id in ids}
    out = work / "mergekit-moe"
    error = peer.build(Mergekit(environment or work / "peer"), peer.recipe(folders["base"], folders, prompts), out)
    if error:
        print(f"mergekit-moe failed:\n{error}", file=sys.stderr)
        return {}
    return {"mergekit-moe, hidden": measured(out, level)}


def table(found: dict[str, Any]) -> list[str]:
    """Markdown; behind each figure its distance from the domain's specialist (from the base on general text)."""
    rows, ids = found["rows"], found["experts"]
    columns = [c for c in rows["base"] if c.split("/")[0] in (*ids, "general")]
    lines = [
        "| bits per byte | " + " | ".join(c.split("/")[0] for c in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row, cells in rows.items():
        texts = []
        for column in columns:
            owner = column.split("/")[0]
            anchor = rows[owner if owner in rows else "base"][column]["value"]
            value = cells[column]["value"] if column in cells else None
            texts.append("" if value is None else f"{value:.3f} ({100 * (value / anchor - 1):+.1f} %)")
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return lines


def targets(found: dict[str, Any]) -> list[str]:
    """What the issue of this strategy asked for, for each mixture; a line that starts with "MISSED" is a failure."""
    rows, ids = found["rows"], found["experts"]
    lines = []
    for row in [row for row in rows if row.startswith("moe, ")]:
        own = {column: column.split("/")[0] for column in rows[row] if column.split("/")[0] in ids}
        worst = max((rows[row][c]["value"] / rows[id][c]["value"] - 1, id) for c, id in own.items())
        general = next((c for c in rows[row] if c.startswith("general/")), None)
        forgotten = rows[row][general]["value"] / rows["base"][general]["value"] - 1 if general else 0.0
        merge = max((rows[row][c]["value"] / rows[found["best_merge"]][c]["value"] - 1, id) for c, id in own.items())
        met = worst[0] <= 0.02 and forgotten <= 0.01 and merge[0] < 0
        lines.append(
            f"{'met' if met else 'MISSED'}: {row}: farthest from its specialist {worst[0]:+.2%} ({worst[1]}), general "
            f"{forgotten:+.2%}, against the best merge at worst {merge[0]:+.2%} ({merge[1]})"
        )
    return lines


def main() -> int:
    """Exit code 1 if no mixture meets the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "cost"])
    parser.add_argument("--work", type=Path, default=Path("moe-work"), help="folder for everything that is built")
    parser.add_argument("--level", choices=["quick", "full"], default="full")
    parser.add_argument("--experts", nargs="*", help="default: every installed expert of relation ffn")
    parser.add_argument("--anchored", nargs="*", help="anchored experts of the same domains, for the row of that name")
    parser.add_argument("--alone", action="store_true", help="without mergekit")
    parser.add_argument("--peer-env", type=Path, help="an environment that holds mergekit; default: made in --work")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.what == "cost":
        found = cost(arguments.experts or experts(), arguments.work, arguments.runs)
        print("\n".join(found.pop("lines")))
        missed = found["missed"]
    else:
        found = quality(arguments)
        print("\n".join(table(found)))
        said = targets(found)
        print("\n" + "\n".join(said))
        missed = not any(line.startswith("met") for line in said)
    if arguments.json:
        facts = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        arguments.json.write_text(json.dumps(found | facts, indent=2) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

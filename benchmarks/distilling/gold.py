"""Beside TRL's GOLD: tokens a second and peak memory of the same student, teacher, texts and steps.

Whole processes in turn, GOLD and then ours with each loss, so that whatever else the machine does hits both. GOLD runs
its teacher in every step; ours reads what the teacher said from a cache, and its time is told with and without.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from merging.processes import timed

from distilling.cost import models
from distilling.teachers import PLUGINS

VERSION = "1.16.0"
REQUIREMENTS = ("torch>=2.6,<2.14", "transformers==5.24.0", f"trl[peft]=={VERSION}")
DOMAINS = ("clinical", "power")
LOSSES = ("alm", "uld")
#: Steps that are dropped. Ours measures the balance in all of the first four, and then in one of eight.
WARM = 4
#: Tokens of a text in either vocabulary: with what stands before and behind it, 256 hold it whole.
_SIZE = 250
#: Goals: GOLD's tokens a second times this without the cache's time and with it; GOLD's memory times this at most.
WITHOUT, WITH, MEMORY = 3.0, 1.0, 0.5


def peer_python(folder: Path) -> Path:
    """The interpreter of TRL's own environment, made in ``folder`` where it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {' and '.join(REQUIREMENTS)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    asked = "from importlib.metadata import version; print(version('trl'))"
    told = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=False).stdout.strip()
    if told != VERSION:
        raise SystemExit(f"{folder} holds trl {told or '(none)'}, not {VERSION}: name another with --peer-env")
    return python


def texts(work: Path, tokenizers: Sequence[Any]) -> Path:
    """The samples of both domains, joined and cut at spaces into texts as long as fit, as JSON Lines."""
    lines = []
    for id in DOMAINS:
        file = PLUGINS / f"cogen-plugin-{id}" / "src" / f"cogen_plugin_{id}" / "samples.jsonl"
        samples = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
        lines += [json.dumps({"text": piece}) + "\n" for piece in _pieces("\n\n".join(samples), tokenizers)]
    path = work / "gold-texts.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _pieces(text: str, tokenizers: Sequence[Any]) -> Iterator[str]:
    """Whole words until the longer of the readings has ``_SIZE`` tokens; what is left at the end is dropped."""
    words = text.split(" ")
    first = 0
    while first < len(words):
        few, many = 1, min(_SIZE, len(words) - first)
        while few < many:
            middle = (few + many + 1) // 2
            piece = " ".join(words[first : first + middle])
            longest = max(len(one(piece, add_special_tokens=False)["input_ids"]) for one in tokenizers)
            few, many = (middle, many) if longest <= _SIZE else (few, middle - 1)
        if first + few < len(words):
            yield " ".join(words[first : first + few])
        first += few


def run(command: Sequence[str], result: Path, threads: int, cache: Path) -> dict[str, Any]:
    """What a process found, its peak memory in bytes, and tokens a second of the steps that count."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "COGEN_CACHE": str(cache),
    }
    result.unlink(missing_ok=True)
    try:
        measured = timed(command, environment)
    finally:
        for folder in (cache, result.with_suffix(".run")):
            shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    found |= {"peak": measured.peak, "seconds": measured.seconds}
    if "ends" in found:
        found["speed"] = sum(found["tokens"][WARM:]) / (found["ends"][-1] - found["ends"][WARM - 1])
    if "scoring" in found:  # every text read by the teacher once and learned once
        found["whole"] = 1 / (1 / found["speed"] + found["scoring"] / found["scored"])
    return found


def compare(student: Path, teacher: Path, lines: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """GOLD's runs, ours by loss, and what its byte alignment says of these tokenizers."""
    here, work = Path(__file__).parent, arguments.work
    python = peer_python(arguments.peer_env or work / "trl")
    threads = arguments.threads or 2

    def go(interpreter: Path | str, script: str, steps: int, last: str) -> dict[str, Any]:
        result = work / "gold-result.json"
        command = [interpreter, here / script, student, teacher, lines, result, steps, threads, last]
        found = run([str(part) for part in command], result, threads, work / "gold-cache")
        if "speed" in found:
            print(f"{script} {last}: {found['speed']:.0f} tokens/s, {found['peak'] / 1e9:.2f} GB", file=sys.stderr)
        return found

    losses: Sequence[str] = arguments.losses or LOSSES
    steps = arguments.steps + WARM
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("GOLD", *losses)}
    extended = go(python, "gold_peer.py", 1, "extended").get("error", "it ran")
    for _ in range(arguments.runs):
        rows["GOLD"].append(go(python, "gold_peer.py", steps, arguments.variant))
        if "error" in rows["GOLD"][-1]:
            raise SystemExit(f"GOLD: {rows['GOLD'][-1]['error']}")
        for name in losses:
            rows[name].append(go(sys.executable, "gold_own.py", steps, name))
    return {"extended": extended, "runs": rows}


def told(name: str, rows: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, Any], list[str]]:
    """Ratios to GOLD's run before it, in turn: all of them and their medians. And the goals that are missed."""
    found: dict[str, Any] = {}
    for key, own in (("without", "speed"), ("with", "whole"), ("memory", "peak")):
        their = "peak" if key == "memory" else "speed"
        each = [one[own] / other[their] for one, other in zip(rows[name], rows["GOLD"], strict=True)]
        found[key] = {"ratio": statistics.median(each), "all": each}
    missed = [
        f"{name} {key}: {found[key]['ratio']:.2f}, goal {goal}"
        for key, goal, good in (
            ("without", f"{WITHOUT}", found["without"]["ratio"] >= WITHOUT),
            ("with", f"more than {WITH}", found["with"]["ratio"] > WITH),
            ("memory", f"at most {MEMORY}", found["memory"]["ratio"] <= MEMORY),
        )
        if not good
    ]
    return found, missed


def gold(arguments: argparse.Namespace) -> dict[str, Any]:
    """The tables; missed: goals of any loss and direction."""
    known = models(arguments.work)
    lines = texts(arguments.work, [tokenizer for _, tokenizer in known.values()])
    facts: dict[str, Any] = {"missed": [], "pairs": {}, "variant": arguments.variant}
    ways = [("SmolLM2", "Gemma"), ("Gemma", "SmolLM2")]
    for student, teacher in ways if arguments.both else ways[:1]:
        found = compare(known[student][0].folder, known[teacher][0].folder, lines, arguments)
        rows = found["runs"]
        title = f"{student} from {teacher}"
        facts["pairs"][title] = found
        print(f"\n{title}; GOLD's byte alignment: {found['extended']}\n")
        print("| | tokens/s | with the cache's time | peak | times GOLD's | with | of GOLD's peak |")
        print("|---|---|---|---|---|---|---|")
        for name, runs in rows.items():
            speed, peak = (statistics.median(one[key] for one in runs) for key in ("speed", "peak"))
            if name == "GOLD":
                print(f"| GOLD, {arguments.variant} | {speed:.0f} | | {peak / 1e9:.2f} GB | | | |")
                continue
            found[name], missed = told(name, rows)
            facts["missed"] += [f"{title}, {one}" for one in missed]
            cells = [
                f"{of['ratio']:.2f} ({min(of['all']):.2f} to {max(of['all']):.2f})"
                for of in (found[name][key] for key in ("without", "with", "memory"))
            ]
            whole = statistics.median(one["whole"] for one in runs)
            print(f"| {name} | {speed:.0f} | {whole:.0f} | {peak / 1e9:.2f} GB | {' | '.join(cells)} |", flush=True)
    for one in facts["missed"]:
        print(f"missed: {one}")
    return facts

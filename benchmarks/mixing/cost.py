"""What a mixture costs: assembling it, against copying as many bytes; and decoding with it, against the dense base."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from merging.processes import copy_time, fresh, read_all, settle, timed, weights

from cogen.fusion.moe.routers import ROUTER
from mixing.cogen import dense

#: Tokens that are decoded greedily, one after the other, after a prompt of a few words.
DECODED = 64
_DECODE = """
import json, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, count = sys.argv[1], int(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
inputs = tokenizer("The voltage at the bus is measured by", return_tensors="pt")
rates = []
for _ in range(4):
    began = time.perf_counter()
    out = model.generate(**inputs, min_new_tokens=count, max_new_tokens=count, do_sample=False)
    rates.append(count / (time.perf_counter() - began))
print(json.dumps(rates[1:]))
"""


def decode(folder: Path) -> list[float]:
    """Tokens a second of three runs after one that warms up."""
    command = [sys.executable, "-W", "ignore", "-c", _DECODE, str(folder), str(DECODED)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rates: list[float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def cost(ids: list[str], work: Path, runs: int) -> dict[str, Any]:
    """Adapters (computed) and whole checkpoints (copied), each against ``cp`` with and without fsync."""
    lines, found = [], {}
    out = fresh(work / "assembled")
    command = [
        sys.executable,
        "-m",
        "cogen",
        "fuse",
        *ids,
        "--strategy",
        "moe",
        "--routing",
        "hidden",
        "--level",
        "none",
        "-q",
        "-o",
        str(out),
    ]
    timed(command)  # router rows are in the cache from now on
    inputs = [file for file in weights(out) if file != out / ROUTER]
    size = read_all(inputs)
    seconds, peaks, assembly, copies, durable = [], [], [], [], []
    for _ in range(runs):
        settle()
        copies.append(copy_time(inputs, work / "copy", size, sync=False))
        settle()
        durable.append(copy_time(inputs, work / "copy", size, sync=True))
        settle()
        fresh(out)
        done = timed([sys.executable, "-c", _ASSEMBLE, str(out), *ids])
        peaks.append(done.peak)
        report = json.loads((work / "assembled.json").read_text())
        assembly.append(report["assembly"])
        seconds.append(done.seconds)
    found |= {
        "bytes": size,
        "assembly": assembly,
        "copy": copies,
        "durable_copy": durable,
        "process": seconds,
        "peak": peaks,
    }
    ratio = statistics.median(assembly) / statistics.median(durable)
    lines.append(
        f"assembly of {size / 1e9:.2f} GB ({len(ids)} adapters and the base): {_spread(assembly)} s; copying these "
        "bytes "
        f"{_spread(durable)} s with fsync, {_spread(copies)} s without; ratio {ratio:.2f} with fsync; whole process "
        f"{_spread(seconds)} s; peak memory {max(peaks) / 1e9:.2f} GB; n = {runs}"
    )
    base, mixture = decode(dense(work / "dense")), decode(out)
    found |= {"dense_tokens": base, "mixture_tokens": mixture}
    slower = statistics.median(base) / statistics.median(mixture)
    lines.append(
        f"decoding, bfloat16, batch 1, {DECODED} tokens: dense base {_spread(base)} tokens/s, mixture "
        f"{_spread(mixture)} tokens/s: {slower:.2f} times slower; n = {len(base)}"
    )
    return found | {"lines": lines, "missed": ratio > 2 or max(peaks) > 1e9}


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


#: The assembly alone, as `cogen fuse` does it, with its own clock around it.
_ASSEMBLE = """
import json, sys, time
from pathlib import Path
from cogen.fusion.build import merge_job
from cogen.fusion.moe.routers import untrained_rows
from cogen.fusion.moe.write import write_mixture
from cogen.fusion.merge.lookup import resolve_method
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host
out, *ids = sys.argv[1:]
host = Host.discover()
recipe = FuseRecipe(experts=dict.fromkeys(ids, 1.0), strategy="moe", routing="hidden", level="none")
plan, inputs = make_plan(host, recipe)
rows = untrained_rows(plan.details, inputs, plan.tokenizer_digest)
folder = Path(out)
folder.mkdir()
began = time.perf_counter()
job = merge_job(plan, inputs, resolve_method(host, plan.method, plan.parameters))
write_mixture(plan.details, job, plan.scales[0], rows, folder)
Path(out + ".json").write_text(json.dumps({"assembly": time.perf_counter() - began}))
"""

"""How long `cogen --help` and `cogen list` take, as whole processes, at 20 and at 1,000 installed plugins.

    python benchmarks/listing.py --json listing.json

"first" is the listing right after the plugins were installed, when every manifest is parsed and validated; the other
figure is the median of the following ones, which read the host's index. Limits: 0.3 s at 20 plugins, 1 s at 1,000.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cogen
from cogen.scaffold import create

FILES = ("suites/heldout.yaml", "suites/dev.jsonl", "suites/test.jsonl", "samples.jsonl", "weights/adapter_config.json")
RUNS = 7


def install(site: Path, manifest: str, count: int) -> None:
    """Write ``count`` distributions as pip would; the files that listing only looks for are empty."""
    for i in range(count):
        id = f"x{i:04}"
        package = site / f"cogen_plugin_{id}"
        for name in FILES:
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).touch()
        (package / "__init__.py").touch()
        (package / "expert.toml").write_text(manifest.replace("model-id", id).replace("model_id", id))
        info = site / f"cogen_plugin_{id}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cogen-plugin-{id}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cogen]\n{id} = cogen_plugin_{id}\n")


def seconds(arguments: list[str], site: Path, cache: Path) -> float:
    """Wall time of one `cogen` process."""
    path = os.pathsep.join([str(site), str(Path(cogen.__file__).parent.parent)])
    env = {**os.environ, "PYTHONPATH": path, "COGEN_CACHE": str(cache)}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cogen", *arguments], env=env, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(count: int) -> dict[str, float]:
    """Seconds of the first listing, of the following ones, and of --help, with ``count`` plugins."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = create("model-id", folder / "plugin", base="smollm2-135m-instruct", title="X", publisher="X")
        site = folder / "site"
        site.mkdir()
        install(site, (plugin / "src/cogen_plugin_model_id/expert.toml").read_text(), count)
        seconds(["--version"], site, folder / "cache")  # writes the bytecode of our own modules
        first = seconds(["list"], site, folder / "cache")
        then = statistics.median(seconds(["list"], site, folder / "cache") for _ in range(RUNS))
        help = statistics.median(seconds(["--help"], site, folder / "cache") for _ in range(RUNS))
    return {"plugins": count, "first_list": round(first, 3), "list": round(then, 3), "help": round(help, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    results = [measure(count) for count in (20, 1000)]
    for r in results:
        listing = f"list {r['list']:.2f} s (first {r['first_list']:.2f} s)"
        print(f"{r['plugins']:>5} plugins: {listing}, --help {r['help']:.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

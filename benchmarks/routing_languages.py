"""Routing by meaning with several embedders: English (the reference experts) and Chinese (five domains of packages).

    python benchmarks/routing_languages.py                                  # minilm, multilingual, counts
    python benchmarks/routing_languages.py --embedder hf://BAAI/bge-small-zh-v1.5@COMMIT

Every domain is the mean embedding of its samples, as in `cogen fuse --strategy route`; a query goes to the nearest one
(without the fallback to a base). Chinese samples and queries are of different laws or files; the English ones are the
reference experts' samples and held-out texts. "beginnings" are the first 24 characters of a Chinese query and the first
60 of an English one. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from languages.texts import domains

from cogen.evals import GENERAL, calibration_texts
from cogen.fusion.route import Router
from cogen.routing.embedder import Embedder

PLUGINS = Path(__file__).parents[1] / "plugins"
Sets = dict[str, tuple[list[str], list[str]]]


def english(count: int) -> Sets:
    """Expert → (samples, held-out texts), the first ``count`` of each."""
    found = {}
    for package in sorted(PLUGINS.glob("*/src/*/")):
        if (package / "expert.toml").is_file():
            files = (package / "samples.jsonl", package / "suites" / "test.jsonl")
            samples, queries = (
                [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()[:count]]
                for file in files
            )
            found[package.name.removeprefix("cogen_plugin_")] = (samples, queries)
    return found


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a share; ``z`` 1.96 for 95 %."""
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def measure(embedder: Embedder, sets: Sets, beginning: int) -> list[dict[str, object]]:
    """Rows: right ones among whole texts and among their beginnings, domain by domain and in all."""
    centroids = {GENERAL: embedder.encode(calibration_texts()).mean(0)}
    centroids |= {name: embedder.encode(samples).mean(0) for name, (samples, _) in sets.items()}
    router = Router(embedder, centroids, fallback=False)
    rows: list[dict[str, object]] = []
    total = [0, 0, 0]
    for name, (_, queries) in sets.items():
        texts = (queries, [query[:beginning] for query in queries])
        right = [sum(found.expert == name for found in router.choose(part)) for part in texts]
        rows.append({"domain": name, "n": len(queries), "whole": right[0], "beginnings": right[1]})
        total = [a + b for a, b in zip(total, [len(queries), *right], strict=True)]
    return [*rows, {"domain": "all", "n": total[0], "whole": total[1], "beginnings": total[2]}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--embedder", action="append", help="minilm, multilingual, counts or a source; repeatable")
    parser.add_argument("-n", type=int, default=60, help="samples and queries of each domain, at most")
    parser.add_argument("--language", choices=["zh", "en"], action="append", help="default: both")
    parser.add_argument("--json", type=Path, help="write the figures there")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for language in asked.language or ["zh", "en"]:
        sets, beginning = (domains(asked.n), 24) if language == "zh" else (english(asked.n), 60)
        texts = [text for samples, queries in sets.values() for text in (*samples, *queries)]
        for name in asked.embedder or ["minilm", "multilingual", "counts"]:
            embedder, began = Embedder(name), time.perf_counter()
            reading = embedder.reading(texts)
            for row in measure(embedder, sets, beginning):
                found = {"language": language, "embedder": name, "unread": round(reading.unread_share, 3), **row}
                results.append(found)
                shares = []
                for kind in ("whole", "beginnings"):
                    low, high = wilson(int(str(row[kind])), int(str(row["n"])))
                    shares.append(f"{kind} {row[kind]} ({low:.0%} to {high:.0%})")
                print(f"{language} {name:13} {row['domain']!s:22} n {row['n']}: {', '.join(shares)}", flush=True)
            print(f"   unread letters {reading.unread_share:.1%}; {time.perf_counter() - began:.0f} s", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

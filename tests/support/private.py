"""Plugins of publishers whose text stays at home: a card that says so, figures and numbers in place of text.

document = private_manifest("ward")              valid: personal data, nothing but figures leaves
with_sources(manifest, {"leaves": "samples"})    one source for each set of changed fields
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from cogen.host import Expert
from cogen.spec.expert import ExpertSpec
from support.manifests import digest, files, manifest
from support.training import agree

#: Token ids and how often each occurs: none of them rarely.
COUNTS = save({"ids": np.array([3, 17, 40], np.int64), "counts": np.array([90, 10, 25], np.int64)})


def suite(**changes: Any) -> dict[str, Any]:
    """A valid private suite of a manifest."""
    return {
        "id": "ward-notes",
        "title": "Notes of the ward, kept there",
        "metric": "bits_per_byte",
        "documents": 40,
        "bytes": 9000,
        "text_digest": "sha256:" + "5" * 64,
        "date": "2026-11-30",
        "harness": "lm-eval 0.4.9, float32",
        "base": {"value": 1.9, "low": 1.8, "high": 2.0},
        "expert": {"value": 1.1, "low": 1.0, "high": 1.2},
    } | changes


def with_sources(document: dict[str, Any], *sources: dict[str, Any]) -> dict[str, Any]:
    """The same manifest with one source for each set of changed fields, in equal shares."""
    first = document["data"]["sources"][0]
    made = [first | {"share": round(1 / len(sources), 4)} | changes for changes in sources]
    data = copy.deepcopy(document["data"] | {"sources": made})
    agree(data, data["sources"])
    return copy.deepcopy(document | {"data": data})


def private_manifest(
    id: str = "ward", *, leaves: str = "figures", counts: bool = True, **changes: Any
) -> dict[str, Any]:
    """No text: a private suite, and token counts if ``counts``. ``changes`` replace fields."""
    document = manifest(id)
    del document["samples"], document["suites"]
    counted = leaves != "nothing"
    source: dict[str, Any] = {"name": "records", "leaves": leaves, "personal_data": "present", "heldout": False}
    source |= {} if counted else dict.fromkeys(("documents", "bytes", "tokens"), "unknown")
    document = with_sources(document, source) | {"schema_version": 2}
    if counted:
        document["private_suites"] = [suite()]
    if counts and counted:
        file = {"path": "statistics/token_counts.safetensors", "digest": digest(COUNTS)}
        document["statistics"] = {"token_counts": file, "floor": 10, "documents": 200}
    return copy.deepcopy(document | changes)


def private_changes(id: str = "ward", **options: Any) -> dict[str, Any]:
    """What :func:`support.manifests.manifest` has to change to give the same manifest."""
    made, plain = private_manifest(id, **options), manifest(id)
    gone: dict[str, Any] = {key: None for key in plain if key not in made}
    return gone | {key: value for key, value in made.items() if plain.get(key) != value}


def private_files(id: str = "ward") -> dict[str, bytes]:
    """The files of such a package beside ``expert.toml``: weights and statistics, and no text."""
    kept = {name: data for name, data in files(id).items() if name.startswith("weights/")}
    return kept | {"statistics/token_counts.safetensors": COUNTS}


def expert_with(folder: Path, document: dict[str, Any], content: dict[str, bytes]) -> Expert:
    """An expert of this manifest whose package holds these files."""
    root = folder / f"cogen_plugin_{document['id'].replace('-', '_')}"
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Expert(ExpertSpec.model_validate(document), f"cogen-plugin-{document['id']}", "1.0", root)


def lines(*texts: tuple[str, str | None]) -> bytes:
    """JSON Lines of (text, source)."""
    rows = ({"text": text} | ({"source": source, "license": "CC0-1.0"} if source else {}) for text, source in texts)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def pinned(path: str, content: bytes, documents: int | None = None) -> dict[str, Any]:
    """What a manifest says of a file."""
    known = {"path": path, "digest": digest(content), "license": "CC0-1.0"}
    return known | ({"documents": documents} if documents else {})

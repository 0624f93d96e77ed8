"""Valid plugins for tests, as files on the disk: change one thing and see what the host says.

document = manifest("power")                  a valid expert.toml as a dictionary
install(site, "power")                        a whole distribution: package, files, dist-info
install(site, "power", plugin_api=2)          … with a field of the manifest changed
make_expert(tmp_path, id="power")             the same as a ``cogen.host.Expert``, without discovery
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from cogen.host import Expert
from cogen.spec.expert import ExpertSpec
from support import weights

ZERO = "sha256:" + "0" * 64
TASK = """\
task: heldout
dataset_path: json
dataset_kwargs:
  data_files: {validation: suites/dev.jsonl, test: suites/test.jsonl}
validation_split: validation
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: bits_per_byte
    aggregation: bits_per_byte
    higher_is_better: false
metadata:
  version: 1.0
"""


def documents(part: str, count: int) -> list[str]:
    """Texts of which no two share a run of words."""
    return [" ".join(f"{part}{i}word{j}" for j in range(20)) for i in range(count)]


def files(id: str) -> dict[str, bytes]:
    """The files of a plugin's package beside ``expert.toml``: relative path → content."""

    def jsonl(part: str, count: int) -> bytes:
        return "".join(json.dumps({"text": text}) + "\n" for text in documents(f"{id}{part}", count)).encode()

    return {
        "suites/heldout.yaml": TASK.encode(),
        "suites/dev.jsonl": jsonl("dev", 10),
        "suites/test.jsonl": jsonl("test", 30),
        "samples.jsonl": jsonl("train", 5),
        **{f"weights/{name}": data for name, data in weights.adapter().items()},
    }


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def manifest(id: str = "power", **changes: Any) -> dict[str, Any]:
    """A valid manifest of an adapter expert; ``changes`` replace top-level fields (``None`` removes one)."""
    content = files(id)
    module = module_of(id)
    base = {
        "name": "A base",
        "license": "Apache-2.0",
        "source": "hf://org/base",
        "revision": "0" * 40,
        "file_digest": ZERO,
        "weights_digest": ZERO,
    }
    document: dict[str, Any] = {
        "schema_version": 1,
        "plugin_api": 1,
        "id": id,
        "title": f"The {id} expert",
        "summary": "An expert for tests",
        "publisher": "The tests",
        "domains": ["testing"],
        "languages": ["en"],
        "license": "Apache-2.0",
        "derivatives": "allowed",
        "model": {
            "name": f"{id} adapter",
            "source": f"package://{module}/weights",
            "format": "peft",
            "dtype": "float32",
            "file_digest": folder_digest(
                {k.partition("/")[2]: v for k, v in content.items() if k.startswith("weights/")}
            ),
            "weights_digest": weights.tensors_digest(weights.adapter()),
            "architecture": "LlamaForCausalLM",
            "parameters": weights.count(weights.adapter()),
            "context_length": 2048,
            "relation": "ffn",
            "base": base,
        },
        "tokenizer": {
            "source": "hf://org/base",
            "revision": "0" * 40,
            "digest": ZERO,
            "kind": "bpe",
            "vocab_size": 49152,
        },
        "samples": {"path": "samples.jsonl", "digest": digest(content["samples.jsonl"]), "license": "CC0-1.0"},
        "data": {
            "sources": [
                {
                    "name": "Invented words",
                    "uri": "file://texts",
                    "license": "CC0-1.0",
                    "license_evidence": "written for the tests",
                    "revision": "unknown",
                    "archive_digest": "unknown",
                    "documents": 40,
                    "bytes": 4000,
                    "tokens": 1000,
                    "share": 1.0,
                    "heldout": True,
                }
            ],
            "languages": ["en"],
            "collected": "2026",
            "preprocessing": "none",
            "split": "unknown",
            "training": "unknown",
            "synthetic_share": 1.0,
            "personal_data": "none",
            "decontaminated_against": "its own test part",
            "biases": "unknown",
            "limitations": "for tests only",
            "not_for": "anything else",
        },
        "suites": [
            {
                "id": "heldout",
                "title": "Held-out text",
                "task": "suites/heldout.yaml",
                "metric": "bits_per_byte",
                "dev": _data(content, "suites/dev.jsonl", 10),
                "test": _data(content, "suites/test.jsonl", 30),
            }
        ],
    }
    document |= copy.deepcopy(changes)
    return {key: value for key, value in document.items() if value is not None}


def _data(content: Mapping[str, bytes], path: str, count: int) -> dict[str, Any]:
    return {"path": path, "digest": digest(content[path]), "documents": count, "license": "CC0-1.0"}


def folder_digest(content: Mapping[str, bytes]) -> str:
    """The digest of a folder, as ``sha256sum`` would print it, computed without the code under test."""
    lines = "".join(f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in sorted(content))
    return digest(lines.encode())


def module_of(id: str) -> str:
    return f"cogen_plugin_{id.replace('-', '_')}"


def install(
    site: Path,
    id: str = "power",
    *,
    distribution: str | None = None,
    module: str | None = None,
    init: str = "",
    toml: str | None = "",
    entry: str | None = None,
    value: str | None = None,
    **changes: Any,
) -> Path:
    """Write a distribution as pip would install it into ``site``; returns the package's folder.

    :param init: Text of ``__init__.py``.
    :param toml: Text of ``expert.toml`` in place of the valid one; ``None`` leaves the file out.
    :param entry: Name of the entry point, the expert's id by default.
    :param value: Value of the entry point, the package by default.
    """
    module = module or module_of(id)
    distribution = distribution or f"cogen-plugin-{id}"
    package = site / module
    for name, content in files(id).items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (package / "__init__.py").write_text(init)
    if toml is not None:
        text = toml or tomlkit.dumps(manifest(id, **changes)).replace(module_of(id), module)
        (package / "expert.toml").write_text(text, encoding="utf-8")
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nRequires-Dist: cogen-core\n"
    )
    (info / "entry_points.txt").write_text(f"[cogen]\n{entry or id} = {value or module}\n")
    return package


def make_expert(folder: Path, id: str = "power", **changes: Any) -> Expert:
    """A valid :class:`Expert` whose files lie in ``folder / id``; ``changes`` replace fields of its manifest."""
    root = folder / id
    for name, content in files(id).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Expert(ExpertSpec.model_validate(manifest(id, **changes)), f"cogen-plugin-{id}", "1.0", root)

"""Plugins over a real, if tiny, model: what comes of them can be fused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tomlkit

from support.manifests import module_of
from support.tiny import save_adapter, tokenizer
from support.trees import tree


def base_of(folder: Path, source: str, revision: str | None = None) -> dict[str, Any]:
    """``[model.base]`` for a checkpoint folder that others find as ``source``."""
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.model import open_folder

    return {
        "name": "The tiny base",
        "license": "Apache-2.0",
        "source": source,
        "dtype": "float32",
        "file_digest": file_digest(folder),
        "weights_digest": open_folder(folder).weights_digest,
    } | ({"revision": revision} if revision else {})


def adapter_tree(
    folder: Path,
    id: str,
    version: str = "1.0",
    *,
    base: dict[str, Any],
    seed: int = 1,
    source: str = "file://weights",
    revision: str | None = None,
    **changes: Any,
) -> Path:
    """A plugin's source tree as :func:`support.trees.tree` writes it, of a LoRA in ``folder/weights``.

    :param source: where the manifest says that those weights are, at ``revision``.
    """
    from cogen.checkpoints.digests import file_digest, tokenizer_digest, weights_digest
    from cogen.checkpoints.safetensors_file import read_bytes, read_folder

    tree(folder, id, version, apart=True, **changes)
    shutil.rmtree(folder / "weights")
    shutil.rmtree(folder / module_of(id) / "base")
    weights = save_adapter(folder / "weights", seed, dtype=base["dtype"])
    tensors = read_folder(weights)
    manifest = folder / module_of(id) / "expert.toml"
    document: Any = tomlkit.parse(manifest.read_text(encoding="utf-8"))
    document["model"] |= {
        "source": source,
        "relation": "ffn",
        "dtype": base["dtype"],
        "parameters": sum(tensor.numel for tensor in tensors.values()),
        "architecture": "LlamaForCausalLM",
        "context_length": 1024,
        "file_digest": file_digest(weights),
        "weights_digest": weights_digest(
            ((t.name, t.dtype, t.shape) for t in tensors.values()), lambda name: read_bytes(tensors[name])
        ),
        "base": base,
    } | ({"revision": revision} if revision else {})
    document["tokenizer"] |= {
        "source": base["source"],
        "revision": base.get("revision", "0" * 40),
        "digest": tokenizer_digest(tokenizer()),
    }
    manifest.write_text(tomlkit.dumps(document), encoding="utf-8")
    return folder

"""Statistics in the place of text: files of an expert's package, and the table of its manifest that names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: A private suite as it stands in a manifest.
PRIVATE_SUITE: dict[str, Any] = {
    "id": "notes",
    "title": "Clinical notes",
    "metric": "bits_per_byte",
    "documents": 40,
    "bytes": 9000,
    "text_digest": "sha256:" + "7" * 64,
    "date": "2026-01-02",
    "harness": "lm-eval, float32",
    "base": {"value": 1.5, "low": 1.4, "high": 1.6},
    "expert": {"value": 1.2, "low": 1.1, "high": 1.3},
}
#: Changes of a manifest that ships neither text nor numbers.
WITHOUT_TEXT: dict[str, Any] = {"schema_version": 2, "samples": None, "suites": None}


def counted(texts: Sequence[str], tokenizer: Any) -> dict[str, Any]:
    """Tensors of token counts."""
    import torch

    found = Counter(token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = sorted(token for token, count in found.items() if count >= 2)
    return {"ids": torch.tensor(ids), "counts": torch.tensor([found[token] for token in ids])}


def statistics(root: Path, *, embedder: str | None = None, **tensors: dict[str, Any]) -> dict[str, Any]:
    """``[statistics]`` of the expert whose files lie in ``root``.

    :param tensors: kind (token_counts, states, embedding) → tensors of its file.
    """
    from safetensors.torch import save_file

    from cogen.checkpoints.digests import file_digest

    root.mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {"documents": 40, "floor": 2}
    for kind, content in tensors.items():
        save_file(content, root / f"{kind}.safetensors")
        table[kind] = {"path": f"{kind}.safetensors", "digest": file_digest(root / f"{kind}.safetensors")}
    return table | ({"embedder": embedder} if embedder else {})

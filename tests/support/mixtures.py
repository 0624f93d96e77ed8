"""Building mixtures in tests, and looking at what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def assemble(machine: Any, output: Path, *, routers: Path | None = None, **recipes: Any) -> Any:
    """``cogen fuse --strategy moe`` with these wishes; the outcome. Level none, unless they say otherwise."""
    from cogen.fusion.recipe import FuseRecipe

    return carry_out(machine, FuseRecipe(**({"strategy": "moe", "level": "none"} | recipes)), output, routers=routers)


def carry_out(machine: Any, recipe: Any, output: Path, **options: Any) -> Any:
    """Plan and fuse."""
    from support import runs

    return runs.carry_out(machine, recipe, output, **options)


def evolve(
    machine: Any,
    composite: Path,
    output: Path,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    level: Any = None,
) -> tuple[Any, str]:
    """``cogen fuse --onto composite``: the outcome, and what the command says."""
    from cogen.runs.execute import execute
    from cogen.runs.prepare import prepare
    from cogen.runs.update import reusable_parts, updated_recipe

    lock, recipe = updated_recipe(composite, add, remove, level)
    prepared = prepare(machine, recipe)
    reuse, message = reusable_parts(lock, prepared.plan, composite)
    return execute(prepared, output, reuse=reuse), message


def as_before(folder: Path) -> Path:
    """A mixture as CoGen wrote them once: the rows of its routers beside the weights, and no index."""
    (folder / "router" / "router.safetensors").rename(folder / "router.safetensors")
    (folder / "router").rmdir()
    (folder / "model.safetensors.index.json").unlink()
    lock = json.loads((folder / "cogen.lock").read_text())
    lock["files"]["router.safetensors"] = lock["files"].pop("router/router.safetensors")
    del lock["files"]["model.safetensors.index.json"]
    (folder / "cogen.lock").write_text(json.dumps(lock))
    return folder


def loaded(folder: Path, dtype: str = "float32") -> Any:
    """The model of a folder, by transformers alone; no tensor may be missing or left over."""
    import torch
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), output_loading_info=True, local_files_only=True
    )
    assert {name: sorted(info[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")} == {
        "missing_keys": [],
        "unexpected_keys": [],
        "mismatched_keys": [],
    }
    return model.eval()


def bits(folder: Path) -> dict[str, str]:
    """SHA-256 of weights, configuration and router rows."""
    names = ("model.safetensors", "config.json", "router/router.safetensors")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def set_routers(model: Any, seed: int = 0) -> None:
    """Random rows in every router."""
    import torch

    from cogen.fusion.moe.insight import gates

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for gate in gates(model):
            gate.weight.copy_(torch.randn(gate.weight.shape, generator=generator))


def close(found: Any, wanted: Any) -> None:
    """Logits that are equal to 1e-5 of the largest, and not trivially so.

    A mixture sums the same products in another order (experts in one batched product, weighted by shares that sum to
    one but for rounding), and float32 has seven digits.
    """
    import torch

    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


class Words:
    """A sentence embedder without weights: counts of hashed three-letter pieces, of length one. A real function."""

    SIZE = 16

    def __init__(self, source: str = "words", digest: str | None = None, talk: Any = None) -> None:
        self.source, self.digest = source, digest

    def encode(self, texts: Any) -> Any:
        """Shape (texts, 16), float32."""
        import zlib

        import torch

        found = torch.zeros(len(texts), self.SIZE)
        for row, text in enumerate(texts):
            for start in range(max(1, len(text) - 2)):
                found[row, zlib.crc32(text[start : start + 3].encode()) % self.SIZE] += 1
        return found / found.norm(dim=1, keepdim=True)

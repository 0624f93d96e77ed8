"""A tiny base and tiny experts over it, as a host would find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.model import open_folder
from cogen.checkpoints.safetensors_file import read_bytes, read_folder
from cogen.host import Expert, Host
from support.manifests import make_expert, manifest
from support.tiny import save_adapter, save_model, tokenizer


class World:
    """A base in ``folder / base`` and experts that are made on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def base(
        self, seed: int = 7, dtype: str = "bfloat16", name: str = "base", license: str = "Apache-2.0"
    ) -> dict[str, Any]:
        """``[model.base]`` of a tiny Llama."""
        path = self.folder / name
        if not path.exists():
            save_model(path, seed, dtype)
        return {
            "name": f"The {name}",
            "source": f"file://{path}",
            "license": license,
            "dtype": dtype,
            "file_digest": file_digest(path),
            "weights_digest": open_folder(path).weights_digest,
        }

    def expert(
        self,
        id: str,
        seed: int = 1,
        *,
        base: dict[str, Any] | None = None,
        full: bool = False,
        model: dict[str, Any] | None = None,
        tokenizer_is: str | None = None,
        **changes: Any,
    ) -> Expert:
        """An adapter, or a whole checkpoint, with its suites and manifest."""
        base = base or self.base()
        weights = self.folder / f"weights-{id}"
        if not weights.exists():
            save_model(weights, seed, base["dtype"]) if full else save_adapter(weights, seed)
        document = manifest(id)["model"] | {
            "source": f"file://{weights}",
            "format": "safetensors" if full else "peft",
            "relation": "full" if full else "ffn",
            "dtype": base["dtype"],
            "file_digest": file_digest(weights),
            "weights_digest": weights_digest(weights),
            "base": base,
        }
        tokens = manifest(id)["tokenizer"] | {
            "source": base["source"],
            "revision": None,
            "digest": tokenizer_is or tokenizer_digest(tokenizer()),
        }
        return make_expert(self.folder, id, model=document | (model or {}), tokenizer=tokens, **changes)


def weights_digest(folder: Path) -> str:
    from cogen.checkpoints.digests import weights_digest as digest

    tensors = read_folder(folder)
    return digest(((t.name, t.dtype, t.shape) for t in tensors.values()), lambda name: read_bytes(tensors[name]))


class FakeHost(Host):
    """The built-in hooks, and these experts as if they were installed."""

    def __init__(self, *experts: Expert) -> None:
        super().__init__()
        self.found = {expert.id: expert for expert in experts}

    def experts(self, *, computed: bool = False) -> tuple[Expert, ...]:
        return tuple(self.found[id] for id in sorted(self.found))

    def expert(self, id: str) -> Expert:
        return self.found[id]

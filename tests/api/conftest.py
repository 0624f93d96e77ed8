"""Real, if tiny, experts that are installed: what `Host.discover()` finds is what the functions work on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.experts import base_of
from support.manifests import install, manifest
from support.sites import site
from support.tiny import save_adapter, save_model, tokenizer
from support.tokenizers import OTHER_WORDS, pieces

__all__ = ["site"]

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No general suite, a short training of routers, an embedding that needs no model, and one thread."""
    import torch

    from cogen.routing.embedder import Embedder

    for module in ("fusion.merge.inputs", "fusion.route.plan", "fusion.distill.plan"):
        monkeypatch.setattr(f"cogen.{module}.general_suites", list)
    monkeypatch.setattr("cogen.evals.general_suites", list)
    for module in ("routing.anchors", "fusion.moe.routers", "fusion.moe.mixture", "fusion.moe.train_routers"):
        monkeypatch.setattr(f"cogen.{module}.calibration_texts", lambda: ["the grid of the river", "a roof of iron"])
    monkeypatch.setattr("cogen.fusion.moe.train_routers.STEPS", 2)
    monkeypatch.setattr(Embedder, "encode", lambda self, texts: _bag(texts))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _bag(texts: Sequence[str], dimensions: int = 256) -> Any:
    """A hashed bag of three letters: shape (texts, dimensions), float32, rows of length one."""
    import numpy as np
    import torch

    rows = [
        np.bincount([zlib.crc32(text[i : i + 3].encode()) % dimensions for i in range(len(text))], minlength=dimensions)
        for text in texts
    ]
    return torch.nn.functional.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=1)


@pytest.fixture
def experts(site: Path, tmp_path: Path) -> Path:
    """``power`` and ``energy`` are installed, two adapters of one base; the folder of that base."""
    base = save_model(tmp_path / "base", 7, "bfloat16")
    (base / "chat_template.jinja").write_text(TEMPLATE)
    for seed, id in enumerate(("power", "energy"), 1):
        _install(site, id, save_adapter(tmp_path / f"weights-{id}", seed), base_of_bfloat16(base), tokenizer(), base)
    return base


@pytest.fixture
def five(experts: Path, site: Path, tmp_path: Path) -> tuple[str, ...]:
    """``law``, ``materials`` and ``neuro`` are installed, too: five adapters of one base, by id."""
    for seed, id in enumerate(("law", "materials", "neuro"), 3):
        weights = save_adapter(tmp_path / f"weights-{id}", seed)
        _install(site, id, weights, base_of_bfloat16(experts), tokenizer(), experts)
    return ("energy", "law", "materials", "neuro", "power")


@pytest.fixture
def stranger(experts: Path, site: Path, tmp_path: Path) -> Path:
    """``law`` is installed, too: a whole model of another base and tokenizer."""
    foreign = pieces("bpe", ["the", "court", "rules", *OTHER_WORDS])
    folders = [tmp_path / "other", tmp_path / "weights-law"]
    for seed, folder in enumerate(folders, 11):
        from support.tiny import llama

        llama(seed, "bfloat16", vocab_size=len(foreign) + 5, hidden_size=48, tie_word_embeddings=False).save_pretrained(
            folder
        )
        foreign.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    _install(site, "law", folders[1], base_of_bfloat16(folders[0]), foreign, folders[0], full=True)
    return folders[1]


def base_of_bfloat16(folder: Path) -> dict[str, Any]:
    return base_of(folder, f"file://{folder}") | {"dtype": "bfloat16", "name": f"The {folder.name}"}


def _install(
    site: Path, id: str, weights: Path, base: dict[str, Any], own: Any, source: Path, *, full: bool = False
) -> None:
    from cogen.checkpoints.digests import file_digest, tokenizer_digest, weights_digest
    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.safetensors_file import read_bytes, read_folder

    tensors = read_folder(weights)
    digest = weights_digest(
        ((t.name, t.dtype, t.shape) for t in tensors.values()), lambda name: read_bytes(tensors[name])
    )
    document = manifest(id)
    model = document["model"] | {
        "source": f"file://{weights}",
        "format": "safetensors" if full else "peft",
        "relation": "full" if full else "ffn",
        "dtype": "bfloat16",
        "file_digest": file_digest(weights),
        "weights_digest": digest,
        "base": base,
    }
    tokens = document["tokenizer"] | {
        "source": f"file://{source}",
        "revision": None,
        "digest": tokenizer_digest(load_tokenizer(source)),
    }
    tokens = {name: value for name, value in tokens.items() if value is not None}
    install(site, id, model=model, tokenizer=tokens)


@pytest.fixture
def small_distillation(tmp_path: Path) -> dict[str, Any]:
    """``[distill]`` of a recipe that takes a second."""
    path = tmp_path / "texts.jsonl"
    lines = [f"the court rules on the grid operator number {i}" for i in range(16)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return {"tokens": 200, "tokens_a_step": 128, "rank": 2, "alpha": 4, "threads": 1, "texts": [str(path)]}

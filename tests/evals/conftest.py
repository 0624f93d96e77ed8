"""A tiny Llama with random weights, a byte-level tokenizer made on the spot, and suites written to a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny import WORDS
from support.tiny import tokenizer as tiny_tokenizer

from cogen.evals import BoundSuite
from cogen.spec.suite import DataFile, Suite


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Byte-level BPE of 300 entries: a character may span several tokens."""
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Any:
    """Two layers, hidden size 32, float32; large enough weights that its predictions differ from token to token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return LlamaForCausalLM(config).eval()


def _text(seed: int, words: int) -> str:
    """Different words in an order that a linear congruential generator draws."""
    chosen = []
    for _ in range(words):
        seed = (1103515245 * seed + 12345) % 2**31
        chosen.append(WORDS[(seed >> 16) % len(WORDS)])
    return " ".join(chosen)


@pytest.fixture(scope="session")
def texts() -> Callable[..., list[str]]:
    """``texts(n, words=…, seed=…)``: n documents of different lengths."""

    def make(n: int, words: int = 6, seed: int = 1) -> list[str]:
        return [_text(1000 * seed + i, words + i % 5) + f" {seed}/{i}" for i in range(n)]

    return make


@pytest.fixture
def bind(tmp_path: Path) -> Callable[..., BoundSuite]:
    """Write a suite and bind it: ``bind(task YAML, metric, dev documents, test documents)``."""

    def make(
        task: str, metric: str, dev: list[Any], test: list[Any], *, name: str = "heldout", owner: str = "power"
    ) -> BoundSuite:
        root = tmp_path / owner / name
        root.mkdir(parents=True, exist_ok=True)
        (root / "task.yaml").write_text(task, encoding="utf-8")
        files = {}
        for split, documents in (("dev", dev), ("test", test)):
            data = "".join(json.dumps(document) + "\n" for document in documents).encode()
            (root / f"{split}.jsonl").write_bytes(data)
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            files[split] = DataFile(path=f"{split}.jsonl", digest=digest, documents=len(documents), license="CC0-1.0")
        suite = Suite(id=name, title="A suite", task="task.yaml", metric=metric, **files)  # type: ignore[arg-type]
        return BoundSuite(owner, suite, root)

    return make


BPB = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: bits_per_byte
"""


@pytest.fixture
def heldout(bind: Callable[..., BoundSuite]) -> Callable[..., BoundSuite]:
    """A bits-per-byte suite of plain texts: ``heldout(dev texts, test texts)``."""

    def make(dev: list[str], test: list[str], **names: str) -> BoundSuite:
        return bind(BPB, "bits_per_byte", [{"text": t} for t in dev], [{"text": t} for t in test], **names)

    return make


@pytest.fixture
def run(model: Any, tokenizer: Any) -> Callable[..., Any]:
    """``run(suites, …)``: :func:`cogen.evals.run_suites` on the tiny model with the usual arguments filled in."""
    from cogen.evals import run_suites

    def call(suites: list[BoundSuite], **changes: Any) -> Any:
        options: dict[str, Any] = {
            "model_digest": "sha256:model",
            "tokenizer_digest": "sha256:tokenizer",
            "split": "test",
            "level": "full",
            "dtype": "float32",
        }
        return run_suites(
            changes.pop("model", model), changes.pop("tokenizer", tokenizer), suites, **(options | changes)
        )

    return call

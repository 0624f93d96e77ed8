"""A mixed install: experts aa and bb of one tiny Llama, and qq of another model with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tiny import WORDS, llama, save_model
from support.tokenizers import OTHER_WORDS, pieces

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only wait for each other's threads; training sets threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distill-cache")


@pytest.fixture
def shared_cache(_session_cache: Path, _own_cache: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that tests share: the first one trains the control and has the teachers read the texts, for all."""
    monkeypatch.setenv("COGEN_CACHE", str(_session_cache))
    return _session_cache


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Sixteen short documents."""
    import json

    words = [*WORDS, *OTHER_WORDS]
    lines = [" ".join(words[(3 * i + j) % len(words)] for j in range(14)) for i in range(16)]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


@pytest.fixture
def mixed(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host with experts aa, bb (adapters) and qq (whole, foreign)."""
    from cogen.checkpoints.digests import file_digest, tokenizer_digest
    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.model import open_folder

    (save_model(world.folder / "base", 7, "bfloat16") / "chat_template.jinja").write_text(TEMPLATE)

    def save(name: str, seed: int) -> Path:
        folder = world.folder / name
        foreign = pieces("bpe", [*WORDS, *OTHER_WORDS])
        model = llama(
            seed,
            "bfloat16",
            vocab_size=len(foreign) + 5,
            hidden_size=48,
            num_attention_heads=4,
            tie_word_embeddings=False,
        )
        model.save_pretrained(folder)
        foreign.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        return folder

    other, own = save("other", 11), save("weights-qq", 12)
    base = {
        "name": "The other",
        "source": f"file://{other}",
        "license": "MIT",
        "dtype": "bfloat16",
        "file_digest": file_digest(other),
        "weights_digest": open_folder(other).weights_digest,
    }
    digest = tokenizer_digest(load_tokenizer(own))
    experts = [
        world.expert("aa", 1),
        world.expert("bb", 2),
        world.expert("qq", 3, full=True, base=base, tokenizer_is=digest),
    ]
    return host(*experts)

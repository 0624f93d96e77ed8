"""A tiny model that has learned some documents and canaries by heart, beside the same model before."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.tiny import llama, tokenizer

from cogen.privacy.canaries import canary_texts, secrets_of

#: What training puts before a document.
LEAD = 0


@dataclass(frozen=True)
class Learned:
    """``base`` has read nothing, ``model`` has read ``documents`` and ``secrets`` until it knew them."""

    base: Any
    model: Any
    documents: list[list[int]]
    unread: list[list[int]]
    secrets: list[str]


def _documents(name: str, count: int) -> list[list[int]]:
    rng = random.Random(name)
    return [[LEAD, *(rng.randrange(1, 300) for _ in range(99))] for _ in range(count)]


@pytest.fixture(scope="session")
def learned() -> Learned:
    """Full-batch AdamW on 12 documents of 100 random tokens and 6 canaries."""
    documents, secrets = _documents("read", 12), secrets_of(b"s" * 32, 1, 6)
    canaries = [[LEAD, *ids] for ids in tokenizer()(canary_texts(secrets), add_special_tokens=False)["input_ids"]]
    base = llama(hidden_size=64, intermediate_size=128)
    model = copy.deepcopy(base).train()
    width = 100
    rows = torch.zeros((len(documents) + len(canaries), width), dtype=torch.int64)
    labels = torch.full_like(rows, -100)
    for index, ids in enumerate([*documents, *canaries]):
        rows[index, : len(ids)] = labels[index, : len(ids)] = torch.tensor(ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(110):
        loss = model(input_ids=rows, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return Learned(base, model.eval(), documents, _documents("unread", 12), secrets)

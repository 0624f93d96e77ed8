"""Whose tokens a composite has, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cogen.fusion.merge.tokenizer_text import tokenizer_text


@pytest.mark.parametrize(
    ("options", "added", "dropped", "template", "output"),
    [
        (None, 0, 0, None, "that of its base"),
        (None, 0, 0, "chat", "that of its base, its chat template that of chat"),
        ("union", 0, 0, None, "that of its base (1,302 rows of embeddings)"),
        ("union", 1, 0, None, "that of its base with 1 token of the experts added (1,302 rows of embeddings)"),
        ("base", 0, 1200, None, "that of its base without 1,200 tokens of the experts (1,302 rows of embeddings)"),
        ("chat", 2, 0, None, "that of chat: 2 tokens more than its base's (1,302 rows of embeddings)"),
        (
            "chat",
            2,
            3,
            "chat",
            "that of chat: 2 tokens more than its base's, 3 tokens of the base or of other experts dropped "
            "(1,302 rows of embeddings), its chat template that of chat",
        ),
    ],
)
def test_the_sentence(options: str | None, added: int, dropped: int, template: str | None, output: str) -> None:
    """Numbers with their unit; nothing about what did not change."""
    vocabulary = SimpleNamespace(size=1302, added=added, dropped=dropped) if options else None
    plan: Any = SimpleNamespace(
        tokenizer=options, vocabulary=vocabulary, chat_template=template, generation_config=None
    )
    assert tokenizer_text(plan) == f"its tokenizer is {output}"

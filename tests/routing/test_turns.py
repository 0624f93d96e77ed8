"""Which token begins a message of the user."""

from __future__ import annotations

import pytest
from support.prefix import TURNS
from support.tiny import CHAT_TEMPLATE, chat_tokenizer

from cogen.routing.turns import template_pieces, template_tokens, user_mark

GENERAL = ["the grid operator measures voltage and current at every node of the power network"]
BLOCKED = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"


def test_the_rarest_token_of_the_user_alone() -> None:
    tokenizer = chat_tokenizer(TURNS)
    mark = user_mark(tokenizer, GENERAL)
    assert mark in tokenizer("¶", add_special_tokens=False)["input_ids"]
    assert mark in template_tokens(tokenizer)


def test_special_tokens_come_first() -> None:
    """And of those only one that stands before no other message."""
    tokenizer = chat_tokenizer(TURNS.replace("'¶'", "'¶<|user|>'").replace("m['role'] + ': '", "'<|other|>'"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|other|>"]})
    assert user_mark(tokenizer, GENERAL) == tokenizer.convert_tokens_to_ids("<|user|>")


@pytest.mark.parametrize(
    "template",
    [CHAT_TEMPLATE, TURNS.replace("'¶'", "m['role'] + '!'"), TURNS.replace("m['role'] + ': '", "'¶'"), None],
    ids=["letters of ordinary text", "an ordinary sign", "the same for all", "no template"],
)
def test_none(template: str | None) -> None:
    """What is common in text, or stands before other messages too, is no mark."""
    assert user_mark(chat_tokenizer(template), [*GENERAL, "user! " * 3]) is None  # type: ignore[arg-type]


def test_roles_that_a_template_refuses() -> None:
    """The others are read."""
    tokenizer = chat_tokenizer(BLOCKED + TURNS)
    assert {role for role, _ in template_pieces(tokenizer)} == {"user", "assistant", ""}
    assert user_mark(tokenizer, GENERAL) == user_mark(chat_tokenizer(TURNS), GENERAL)

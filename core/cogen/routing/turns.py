"""What a chat template writes around messages, and which of its tokens begins a message of the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cogen.checkpoints.chat_templates import RejectedError, render_chat
from cogen.reporter import SILENT, Reporter

#: Roles of messages that a chat template is rendered with, to see what it adds.
_CHATS: tuple[tuple[str, ...], ...] = (
    ("user",),
    ("user", "assistant", "user"),
    ("system", "user"),
    ("system", "user", "assistant", "user"),
)
#: What stands for the content of a message.
_CONTENT = "\u2402"
#: Letters of a message in an example.
_SHORT = 200
#: An ordinary token is taken as a mark only if it is as rare as this in general text.
_RARE = 1 / 2000


def template_pieces(tokenizer: Any, reporter: Reporter = SILENT) -> list[tuple[str, str]]:
    """(role of the message that follows, or "" at the end; text that the template writes before it), of a few chats."""
    found: list[tuple[str, str]] = []
    if not tokenizer.chat_template:
        return found
    for roles in _CHATS:
        chat = [{"role": role, "content": _CONTENT} for role in roles]
        try:
            text = render_chat(tokenizer, chat, ask=roles[-1] == "user")
        except RejectedError as error:  # many templates refuse a role or an order
            reporter.note(error.message)
            continue
        pieces = text.split(_CONTENT)
        followed = (*roles, "") if len(pieces) == len(roles) + 1 else ("",) * len(pieces)
        found += zip(followed, pieces, strict=True)
    return found


def template_tokens(tokenizer: Any, reporter: Reporter = SILENT) -> set[int]:
    """Ids of all tokens that the template writes."""
    pieces = sorted({text for _, text in template_pieces(tokenizer, reporter)})
    return {id for ids in _tokens(tokenizer, pieces) for id in ids}


def example_chat(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Token ids of a chat of three short messages, made of the beginnings of texts; the template takes it."""
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": texts[n % len(texts)][:_SHORT]} for n, role in enumerate(roles)]
    text = render_chat(tokenizer, messages, ask=True)
    # The template writes the special tokens itself.
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def user_mark(tokenizer: Any, general: Sequence[str], reporter: Reporter = SILENT) -> int | None:
    """Id of a token that the template writes before every message of the user and nowhere else.

    Special ones first, then the rarest in general text. A system prompt or an answer that holds it looks like a new
    message; ``None`` where there is no such token, or only tokens that are common in ordinary text.
    """
    pieces = template_pieces(tokenizer, reporter)
    if not any(role == "assistant" for role, _ in pieces):
        return None  # a template for single questions has no turns
    before = [set(ids) for ids in _tokens(tokenizer, [text for role, text in pieces if role == "user"])]
    others = [id for ids in _tokens(tokenizer, [text for role, text in pieces if role != "user"]) for id in ids]
    marks = set.intersection(*before) - {*others} if before else set()
    special = {
        id for id in marks if id in tokenizer.added_tokens_decoder and tokenizer.added_tokens_decoder[id].special
    }
    if special:
        return min(special)
    usual = [id for ids in _tokens(tokenizer, general) for id in ids] if marks else []
    found = min(marks, key=lambda id: (usual.count(id), id), default=None)
    return found if found is not None and usual.count(found) <= _RARE * len(usual) else None


def _tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = (
        tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    )
    return found

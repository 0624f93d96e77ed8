"""Whose tokens a composite has, in words; the same ones in the plan, the report and the card."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cogen.fusion.plan import Plan


def tokenizer_text(plan: Plan) -> str:
    """ "its tokenizer is that of its base with 2 tokens added, its chat template that of chat": one line, no stop."""
    found = plan.vocabulary
    if found is None:
        text = "its tokenizer is that of its base"
    elif plan.tokenizer in ("base", "union"):
        text = "its tokenizer is that of its base"
        text += f" with {_tokens(found.added)} of the experts added" if found.added else ""
        text += f" without {_tokens(found.dropped)} of the experts" if found.dropped else ""
    else:
        text = f"its tokenizer is that of {plan.tokenizer}: {_tokens(found.added)} more than its base's"
        text += f", {_tokens(found.dropped)} of the base or of other experts dropped" if found.dropped else ""
    if found is not None:
        text += f" ({found.size:,} rows of embeddings)"
    text += f", its chat template that of {plan.chat_template}" if plan.chat_template else ""
    return text + (f", its generation config that of {plan.generation_config}" if plan.generation_config else "")


def _tokens(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"

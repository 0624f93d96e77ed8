"""Whose tokens a composite has, in words; the same ones in the plan, the report and the card."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cogen.fusion.plan import Plan


#: How a mixture's routers came about, in half a sentence.
ROUTING = {
    "hidden": "from the base's states on the experts' samples, without training",
    "embedding": "from sentence embeddings of the experts' samples, without training",
    "anchored": "as each expert's publisher trained them beside the frozen base",
    "trained": "trained for this set of experts on their samples, everything else frozen",
}


def mixture(plan: Plan) -> str:
    """ "6 experts (the base's own feed-forward blocks are one), 2 on a token, …": one line, no stop."""
    planned = plan.mixture
    assert planned is not None  # only plans of strategy moe have words for it
    own = " (the base's own feed-forward blocks are one)" if planned.public else ""
    return (
        f"{len(planned.slots)} experts{own}, {planned.top_k} on a token; {planned.parameters / 1e6:,.0f} million "
        f"parameters, {planned.active / 1e6:,.0f} million active; routers {ROUTING[planned.routing]}"
    )


def distillation(plan: Plan) -> str:
    """ "clinical learned 100,000 tokens from gemma (alm), …": one line, no stop."""
    planned = plan.distillation
    assert planned is not None  # only plans of strategy distill have words for it
    learner = planned.pivot.name if planned.pivot.experts else plan.base.name
    teachers = ", ".join(teacher.name for teacher in planned.teachers)
    wish = planned.settings
    how = "in one run with all teachers" if wish.arrangement == "unified" else "in one run for each teacher, averaged"
    return (
        f"{learner} learned {planned.tokens:,} tokens of {planned.texts:,} texts from {teachers} with the loss "
        f"{plan.method}{f', {how}' if len(planned.teachers) > 1 else ''}; "
        f"{'all weights' if wish.mode == 'full' else f'LoRA of rank {wish.rank}'} were trained"
    )


def tokenizer(plan: Plan) -> str:
    """ "its tokenizer is that of its base with 2 tokens added, its chat template that of chat": one line, no stop."""
    found = plan.vocabulary
    if found is None:
        said = "its tokenizer is that of its base"
    elif plan.tokenizer in ("base", "union"):
        said = "its tokenizer is that of its base"
        said += f" with {_tokens(found.added)} of the experts added" if found.added else ""
        said += f" without {_tokens(found.dropped)} of the experts" if found.dropped else ""
    else:
        said = f"its tokenizer is that of {plan.tokenizer}: {_tokens(found.added)} more than its base's"
        said += f", {_tokens(found.dropped)} of the base or of other experts dropped" if found.dropped else ""
    if found is not None:
        said += f" ({found.size:,} rows of embeddings)"
    return said + (f", its chat template that of {plan.chat_template}" if plan.chat_template else "")


def _tokens(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"

"""Chats about the fields of the experts, and where a mixture's routers send the answer's first token."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GENERAL = "general"
#: Tokens of a document that stand for the first answer.
ANSWER = 120


@dataclass(frozen=True)
class Chat:
    """
    :param kind: first, follow-up (of the same field), second (of another field), system (a system prompt of another).
    :param wanted: field of the newest question; ``before``: of what stands before it.
    """

    kind: str
    wanted: str
    before: str
    messages: Sequence[Mapping[str, str]]


def questions() -> tuple[dict[str, list[str]], dict[str, str]]:
    """(questions by field, system prompt by field) of the file beside this one."""
    found = tomllib.loads((Path(__file__).parent / "questions.toml").read_text(encoding="utf-8"))
    system = found.pop("system")
    return found, system


def chats(fields: Sequence[str], answers: Mapping[str, str], each: int) -> Iterator[Chat]:
    """First questions: all. Others: ``each`` of every ordered pair of fields.

    :param fields: with questions; ``answers``: text of each field, of which a part stands for the first answer.
    """
    asked, system = questions()

    def one(kind: str, wanted: str, before: str, *contents: str, prompt: str = "") -> Chat:
        roles = ("user", "assistant")
        turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]
        return Chat(kind, wanted, before, [*([{"role": "system", "content": prompt}] if prompt else []), *turns])

    for field in fields:
        for question in asked[field]:
            yield one("first", field, "", question)
    for number in range(each):
        for before in fields:
            for wanted in fields:
                first = asked[before][number % len(asked[before])]
                then = asked[wanted][(number + 1) % len(asked[wanted])]
                kind = "follow-up" if before == wanted else "second"
                yield one(kind, wanted, before, first, answers[before], then)
                if before != wanted and before in system:
                    yield one("system", wanted, before, then, prompt=system[before])


def prompts(tokenizer: Any, found: Sequence[Chat]) -> list[list[int]]:
    """Token ids up to where the answer begins.

    :raises SystemExit: the base has no chat template.
    """
    if not tokenizer.chat_template:
        raise SystemExit("the base has no chat template: leave chats out of --parts")
    return [
        list(tokenizer.apply_chat_template(list(chat.messages), add_generation_prompt=True)["input_ids"])
        for chat in found
    ]


def sent(model: Any, ids: Sequence[int], layer: int) -> list[float]:
    """Logits of the router of ``layer`` at the last token, one a slot."""
    import torch

    from cogen.fusion.moe.insight import gates

    seen: list[Any] = []
    handle = gates(model)[layer].register_forward_hook(lambda _, __, output: seen.append(output[0][-1].float()))
    try:
        with torch.no_grad():
            model.get_decoder()(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        handle.remove()
    return [float(logit) for logit in seen[0]]

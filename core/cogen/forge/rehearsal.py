"""Text that the base itself writes, mixed into a training so that the expert keeps what the base could.

Self-synthesized rehearsal (Huang et al. 2024, arXiv:2403.01244): no data of the base's own training are needed. The
base answers general questions in its chat template, sampled with a fixed seed; what did not end by itself, loops, or
came in another language is left out.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cogen.cache import cached
from cogen.errors import TrainError
from cogen.evals.answers import judge
from cogen.evals.generation import Sampling, end_tokens, generate, render_question
from cogen.files import atomic_write
from cogen.forge.chats import Chat, ChatEncoder, LabeledTokens, Turn
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest

#: How every round is sampled; its number is added to the seed.
SAMPLING = Sampling(limit=128, temperature=0.8, min_p=0.05, seed=20_240, batch=40)
#: The training reads what was generated at most about so many times.
PASSES = 3
MAX_ROUNDS = 8
#: Guess of what one usable conversation has, before any was made: tokens, question and template included.
_TOKENS = 90
#: Guess of the share of answers that can be used.
_USABLE = 0.6
_FORMAT = 1


@dataclass(frozen=True)
class Question:
    prompt: str
    language: str


@functools.cache
def questions() -> tuple[Question, ...]:
    """The general questions that ship with CoGen; none of them is in the chat suite."""
    lines = (Path(__file__).parent / "rehearsal.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Question(**json.loads(line)) for line in lines)


def chosen_questions(languages: Sequence[str]) -> tuple[Question, ...]:
    """English ones, and those of every language of the expert that there are some of."""
    wanted = {"en", *(language.split("-")[0].lower() for language in languages)}
    return tuple(question for question in questions() if question.language in wanted)


def planned_rounds(needed: int, asked: int) -> int:
    """Rounds over ``asked`` questions that give ``needed`` tokens within :data:`PASSES` passes, about."""
    return min(MAX_ROUNDS, max(1, math.ceil(needed / (PASSES * asked * _USABLE * _TOKENS))))


def planned_tokens(needed: int, languages: Sequence[str]) -> int:
    """The most tokens that will be generated for ``needed`` tokens of training."""
    asked = len(chosen_questions(languages))
    return planned_rounds(needed, asked) * asked * SAMPLING.limit


def rehearse(
    load: Callable[[], Any],
    tokenizer: Any,
    needed: int,
    languages: Sequence[str],
    key: Sequence[str],
    reporter: Reporter = SILENT,
) -> list[Chat]:
    """Conversations of one question and the base's answer, in the order of rounds and questions.

    :param load: gives the base; called only if a round is not in the cache.
    :param needed: tokens that the training will read of them.
    :param key: digests of the base and its tokenizer.
    :param reporter: advanced by generated tokens.
    :raises TrainError: the base has no chat template, or gave hardly any answer that can be used.
    """
    asked = chosen_questions(languages)
    rounds = planned_rounds(needed, len(asked))
    ChatEncoder(tokenizer)  # says at once if there is no template
    load = functools.cache(load)
    found: dict[Chat, None] = {}
    for number in range(rounds):
        found |= dict.fromkeys(_round(load, tokenizer, asked, number, key, reporter))
    if len(found) < 0.05 * rounds * len(asked):
        raise TrainError(
            f"the base gave {len(found)} usable answers to {rounds * len(asked)} general questions",
            hint="it does not answer questions itself, so there is nothing to keep: rehearsal = 0",
        )
    return list(found)


def _round(
    load: Callable[[], Any],
    tokenizer: Any,
    asked: Sequence[Question],
    number: int,
    key: Sequence[str],
    reporter: Reporter,
) -> list[Chat]:
    named = canonical_digest(
        {
            "format": _FORMAT,
            "base": list(key),
            "questions": [asdict(question) for question in asked],
            "sampling": asdict(SAMPLING),
            "round": number,
            "template": tokenizer.chat_template,
            "torch": importlib.metadata.version("torch"),
            "transformers": importlib.metadata.version("transformers"),
        }
    )
    file = cached("rehearsal", f"{named.removeprefix('sha256:')}.jsonl")
    if not file.is_file():
        model = load()
        sampling = Sampling(**(asdict(SAMPLING) | {"seed": SAMPLING.seed + number}))
        prompts = [render_question(tokenizer, question.prompt) for question in asked]
        answers = generate(model, prompts, sampling, end_tokens(model, tokenizer), reporter.advance)
        lines = []
        for question, answer in zip(asked, answers, strict=True):
            text = tokenizer.decode(answer.ids, skip_special_tokens=True).strip()
            if text and judge(text, question.language, answer.ended).well_formed:
                lines.append(json.dumps({"prompt": question.prompt, "response": text}, ensure_ascii=False))
        atomic_write(file, "".join(f"{line}\n" for line in lines).encode())
    entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [(Turn("user", entry["prompt"]), Turn("assistant", entry["response"])) for entry in entries]


def encode(chats: Sequence[Chat], tokenizer: Any, length: int) -> list[LabeledTokens]:
    """Those that fit into ``length`` tokens."""
    encoder = ChatEncoder(tokenizer)
    found = [tokens for chat in chats for tokens in encoder.encode(chat)]
    return [tokens for tokens in found if len(tokens.ids) <= length]

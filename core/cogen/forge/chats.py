"""Conversations and instructions out of JSON Lines, and their tokens in a base's chat template.

Only what the assistant says is learned, each turn with the special token that ends it. The mask is exact: a turn is
rendered up to where the answer begins, as when the model is asked, and what the full rendering adds is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cogen.checkpoints.chat_templates import RejectedError, render_chat
from cogen.errors import TrainError
from cogen.untrusted.json_text import parse_json

#: ShareGPT's names of the roles, and those of other collections.
_ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
}
#: Where the messages of a conversation are, and their text: OpenAI's names, ShareGPT's and others.
_MESSAGES, _CONTENT = ("messages", "conversations", "conversation"), ("content", "value", "text")
#: What leads the question of an instruction's row, and its answer: Alpaca's names, Dolly's and the usual ones.
_QUESTIONS = ("instruction", "question", "prompt", "query", "input")
_ANSWERS = ("output", "response", "answer", "completion", "chosen")
#: Bytes of a file, which is the user's own.
_LARGEST = 1 << 32
_HINT = (
    "a line is {messages: [{role, content}, …]}, {prompt, response}, {instruction, input, output} or "
    "{conversations: [{from, value}, …]}"
)


@dataclass(frozen=True)
class Turn:
    """``role``: system, user or assistant."""

    role: str
    content: str


#: In order: at most one system turn at the beginning, then user and assistant in turn; the last is the assistant's.
Chat = tuple[Turn, ...]


def read_chats(name: str, text: str, field: str = "text") -> Iterator[tuple[str, Chat]]:
    """(name and line, conversation) of every line of a JSON Lines file, or entry of a JSON list.

    :param field: where the messages are, if not under one of their usual names.
    :raises TrainError: a line that is none of the known forms, by its number.
    """
    try:
        rows = json_rows(text)
    except ValueError as error:
        raise TrainError(f"{name} is not JSON Lines: {error}", hint=_HINT) from error
    for number, row in rows:
        yield f"{name}#{number}", read_chat(row, field, f"{name} line {number}")


def json_rows(text: str) -> list[tuple[int, Any]]:
    """(number, row) of a JSON list, or (line, row) of JSON Lines.

    :raises ValueError: neither.
    """
    try:
        whole = parse_json(text, limit=_LARGEST)
    except ValueError:
        # Not splitlines(): a JSON string may hold U+2028 as it is.
        lines = enumerate(text.split("\n"), 1)
        return [(number, parse_json(line)) for number, line in lines if line.strip()]
    first = 1 + text[: len(text) - len(text.lstrip())].count("\n")
    return list(enumerate(whole, 1)) if isinstance(whole, list) else [(first, whole)]


def read_chat(row: Any, field: str, where: str) -> Chat:
    """The conversation of one row, whose every turn and answer must be there to be learned.

    :param where: for errors: file and line.
    :raises TrainError: no known form, an unknown role, a turn without text, turns in another order.
    """
    turns = _turns(row, field)
    if turns is None:
        if not isinstance(row, dict):
            raise TrainError(f"{where} is not a JSON object", hint=_HINT)
        if any(name in row for name in _MESSAGES):
            raise TrainError(f"{where}: its turns are not a list of objects", hint=_HINT)
        raise TrainError(f"{where} has none of messages, conversations, instruction and prompt", hint=_HINT)
    return _checked([turn.checked(where) for turn in turns], where)


def row_text(row: Any, field: str) -> str | None:
    """The text of a row, one paragraph a turn, whoever speaks; None where the row is no conversation.

    :param field: where the messages are, if not under one of their usual names.
    """
    parts = [turn.content for turn in _turns(row, field) or () if turn.content]
    return "\n\n".join(parts) if parts else None


def plain_text(chat: Chat) -> str:
    """The turns' contents without roles or markup, an empty line between them: what is compared and measured."""
    return "\n\n".join(turn.content for turn in chat)


def to_json(chat: Chat) -> list[dict[str, str]]:
    """As chat templates take it."""
    return [{"role": turn.role, "content": turn.content} for turn in chat]


@dataclass(frozen=True)
class _RawTurn:
    """A turn as a row has it: any role; ``content`` is empty where ``key`` has no text."""

    role: Any
    content: str
    key: str
    #: Type of a part of the content that is no text, such as an image.
    other: str = ""

    def checked(self, where: str) -> Turn:
        if not isinstance(self.role, str) or self.role not in _ROLES:
            raise TrainError(
                f"{where} has a turn of {_word(self.role)}",
                hint="turns are of system, user and assistant; tools are not learned",
            )
        if self.other:
            raise TrainError(
                f"{where} has a part of type {_word(self.other)}", hint="only text is learned: leave it out"
            )
        if not self.content:
            raise TrainError(f"{where} has no text under {self.key!r}", hint=_HINT)
        return Turn(_ROLES[self.role], self.content)


def _turns(row: Any, field: str) -> list[_RawTurn] | None:
    """The turns of a row: a list of them, one under ``field`` or a usual name, or an instruction and its answer."""
    found = row if isinstance(row, list) else _listed(row, field) if isinstance(row, dict) else None
    if found is not None:
        turns = [_turn(item) for item in found]
        lead = row.get("system") if isinstance(row, dict) else None
        return [_RawTurn("system", lead.strip(), "system"), *turns] if isinstance(lead, str) and lead.strip() else turns
    return _exchange(row) if isinstance(row, dict) else None


def _listed(row: Mapping[str, Any], field: str) -> list[Any] | None:
    return next((row[name] for name in (field, *_MESSAGES) if isinstance(row.get(name), list)), None)


def _turn(item: Any) -> _RawTurn:
    if not isinstance(item, dict):
        return _RawTurn(None, item.strip() if isinstance(item, str) else "", "content")
    role = item.get("role", item.get("from"))
    key = next((key for key in _CONTENT if key in item), _CONTENT[0])
    content, other = item.get(key), ""
    if isinstance(content, list):  # parts of a message: text, images
        parts = [part if isinstance(part, dict) else {} for part in content]
        content = "\n\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
        other = next((str(part.get("type")) for part in parts if not isinstance(part.get("text"), str)), "")
    return _RawTurn(role, content.strip() if isinstance(content, str) else "", key, other)


def _exchange(row: Mapping[str, Any]) -> list[_RawTurn] | None:
    """A question and its answer in fields of their own; ``None`` where there is neither."""
    lead = next((name for name in _QUESTIONS if name in row), None)
    answer = next((name for name in _ANSWERS if name in row), None)
    if lead is None and answer is None:
        return None
    turns = []
    if _field(row, "system"):
        turns.append(_RawTurn("system", _field(row, "system"), "system"))
    if lead is not None:
        # A context stands before a question, and behind an instruction.
        order = ("instruction", "context", "input", "question", "prompt", "query")
        parts = [_field(row, name) for name in order if name in (lead, "context", "input")]
        content = "\n\n".join(part for part in parts if part) if _field(row, lead) else ""
        turns.append(_RawTurn("user", content, lead))
    if answer is None:
        answer = "output" if lead == "instruction" else "completion"
    return [*turns, _RawTurn("assistant", _field(row, answer), answer)]


def _field(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""


def _word(value: object) -> str:
    """A role or type as it is written, if it can be one: else it is text of somebody, which no message repeats."""
    plain = value is None or (isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]{0,23}", value, re.ASCII))
    return repr(value) if plain else "another kind than a word"


def _checked(turns: list[Turn], where: str) -> Chat:
    roles = [turn.role for turn in turns]
    asked = roles[1:] if roles[:1] == ["system"] else roles
    if asked and asked[-1] == "user":  # a question without an answer teaches nothing; the exchanges before it do
        turns, asked = turns[:-1], asked[:-1]
    if not asked or asked != ["user", "assistant"] * (len(asked) // 2):
        raise TrainError(
            f"{where}: user and assistant do not take turns ({', '.join(roles) or 'no turn'})",
            hint="a conversation begins with the user (after a system turn, if any) and holds at least one answer",
        )
    return tuple(turns)


@dataclass(frozen=True)
class LabeledTokens:
    """Token ids of one text, and which of them are learned as targets: ``labels`` has -100 where none is."""

    ids: list[int]
    labels: list[int]


@dataclass
class Cuts:
    """What did not fit into ``sequence_length`` tokens, by the names of the conversations."""

    #: Later exchanges left out; every question that was kept has its whole answer.
    shortened: list[str] = field(default_factory=list)
    #: The end of the only answer left out: the question is whole, and the end of the turn is not learned.
    cut_answers: list[str] = field(default_factory=list)
    #: Left out as a whole: the question alone takes more than three quarters of the length.
    dropped: list[str] = field(default_factory=list)

    def words(self, length: int) -> list[str]:
        """One line for each kind, with the number and the first name."""
        kinds = (
            (self.shortened, f"cut to the exchanges that fit into {length} tokens"),
            (self.cut_answers, f"with an answer cut at {length} tokens"),
            (self.dropped, f"dropped: the question leaves no room for an answer in {length} tokens"),
        )
        return [f"{len(names)} conversations {what} (first: {names[0]})" for names, what in kinds if names]


class ChatEncoder:
    """Conversations → :class:`LabeledTokens` in a tokenizer's chat template.

    :raises TrainError: the tokenizer has no chat template, or one that rejects a conversation.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise TrainError(
                "the base has no chat template, so conversations cannot be rendered",
                hint="use an instruction-tuned base, or data = 'documents' without rehearsal",
            )
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_ids) | {
            id for id, token in tokenizer.added_tokens_decoder.items() if token.special
        }

    def encode(self, chat: Chat) -> list[LabeledTokens]:
        """One sequence, or one an answer where the template renders earlier turns differently later on."""
        pieces = self._pieces(chat)
        if pieces is not None:
            return [self._tokens(pieces)]
        found = []
        for end in (i for i, turn in enumerate(chat, 1) if turn.role == "assistant"):
            asked = self._render(chat[: end - 1], True)
            whole = self._render(chat[:end], False)
            if not whole.startswith(asked):
                raise TrainError(
                    "the base's chat template renders a question differently once it is answered",
                    hint="such a template cannot be learned from; use another base",
                )
            found.append(self._tokens([(asked, False), (whole[len(asked) :], True)]))
        return found

    def fit(self, chat: Chat, name: str, length: int, cuts: Cuts) -> list[LabeledTokens]:
        """:meth:`encode` within ``length`` tokens; what is left out is written into ``cuts``."""
        kept = chat
        while True:
            found = self.encode(kept)
            if all(len(tokens.ids) <= length for tokens in found):
                if kept is not chat:
                    cuts.shortened.append(name)
                return found
            if sum(turn.role == "assistant" for turn in kept) == 1:
                return self._cut(found[0], name, length, cuts)
            kept = kept[:-2]

    def _cut(self, tokens: LabeledTokens, name: str, length: int, cuts: Cuts) -> list[LabeledTokens]:
        begins = next(place for place, label in enumerate(tokens.labels) if label != -100)
        if begins > 0.75 * length:
            cuts.dropped.append(name)
            return []
        cuts.cut_answers.append(name)
        return [LabeledTokens(tokens.ids[:length], tokens.labels[:length])]

    def _pieces(self, chat: Chat) -> list[tuple[str, bool]] | None:
        """(text, is an answer) that together are the rendered conversation; ``None`` where prefixes do not agree."""
        whole = self._render(chat, False)
        pieces: list[tuple[str, bool]] = []
        place = 0
        for index, turn in enumerate(chat):
            if turn.role != "assistant":
                continue
            asked, answered = self._render(chat[:index], True), self._render(chat[: index + 1], False)
            if not (whole.startswith(answered) and answered.startswith(asked) and len(asked) >= place):
                return None
            pieces += [(asked[place:], False), (answered[len(asked) :], True)]
            place = len(answered)
        return [*pieces, (whole[place:], False)] if whole[place:] else pieces

    def _render(self, turns: Sequence[Turn], ask: bool) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            return render_chat(self.tokenizer, messages, ask=ask, owner="the base")
        except RejectedError as error:
            raise TrainError(error.message, hint=error.hint) from error

    def _tokens(self, pieces: Sequence[tuple[str, bool]]) -> LabeledTokens:
        """Every piece is tokenized on its own: a question exactly as when the model is asked."""
        ids: list[int] = []
        labels: list[int] = []
        for text, learned in pieces:
            # The template writes the special tokens itself.
            own: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if not learned:
                ids += own
                labels += [-100] * len(own)
                continue
            last = max((place for place, id in enumerate(own) if id in self.special), default=None)
            if last is None:  # the template ends a turn with plain text: the end of text is learned behind it
                end = self.tokenizer.eos_token_id
                own = [*own, *([] if end is None else [int(end)])]
                last = len(own) - 1
            ids += own
            labels += [*own[: last + 1], *[-100] * (len(own) - last - 1)]
        return LabeledTokens(ids, labels)

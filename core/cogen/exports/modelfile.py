"""ollama's Modelfile: the GGUF, its chat template in Go's template language, stop tokens, sampling.

ollama reads no Jinja. Most templates put fixed text around every message by its role; that text is found by rendering
conversations with the model's own template, and what was found must render other conversations to the same text. A
template of another kind is left out, and a comment says so: ollama then uses what it knows of the GGUF's own template.
Source: https://docs.ollama.com/modelfile
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.chat_templates import render_chat
from cogen.checkpoints.json_files import read_object
from cogen.exports.source import ExportSource
from cogen.files import atomic_write

NAME = "Modelfile"
#: Stand for a message's text while the template is taken apart; no template cuts or changes them.
_MARKS = ("Xq1marker", "Xq2marker", "Xq3marker", "Xq4marker")
#: What a value must not have in it, since it would end the string or begin an action of Go's.
_UNSAFE = ('"""', "{{", "}}")
#: generation_config.json → parameter of ollama.
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}

Renderer = Callable[[Sequence[Mapping[str, str]], bool], str]


@dataclass(frozen=True)
class ChatFormat:
    """What stands around a message of each role, before an answer, and the system prompt of who gives none.

    :param around: role → (text before, text after).
    """

    start: str
    around: dict[str, tuple[str, str]]
    answer: str
    system: str | None

    def render(self, messages: Sequence[Mapping[str, str]], ask: bool) -> str:
        """As :func:`go_template` does it."""
        turns = list(messages)
        if self.system is not None and turns[0]["role"] != "system":
            turns = [{"role": "system", "content": self.system}, *turns]
        text = "".join(f"{self.around[m['role']][0]}{m['content']}{self.around[m['role']][1]}" for m in turns)
        return f"{self.start}{text}{self.answer if ask else ''}"


def write_modelfile(source: ExportSource, gguf: str, folder: Path) -> dict[str, Any]:
    """``Modelfile`` beside the file ``gguf``; returns ``{"stop": [...], "template": bool}`` for the card."""
    from cogen.checkpoints.load import load_tokenizer

    tokenizer = load_tokenizer(source.folder)
    generation = _object(source.folder / "generation_config.json")
    stops = stop_tokens(tokenizer, generation, source.config)
    lines = [f"FROM ./{gguf}"]
    found = find_format(tokenizer)
    if found is not None:
        lines.append(f'TEMPLATE """{go_template(found)}"""')
        if found.system is not None:
            lines.append(f'SYSTEM """{found.system}"""')
    elif tokenizer.chat_template:
        lines.append(
            "# No TEMPLATE: the chat template cannot be written in Go's template language; see the GGUF's own."
        )
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop and stop.isprintable()]
    lines += [
        f"PARAMETER {theirs} {generation[own]}"
        for own, theirs in _SAMPLING.items()
        if generation.get("do_sample") and isinstance(generation.get(own), int | float)
    ]
    if source.lock is not None and not any(text in source.lock.plan.license for text in _UNSAFE):
        lines.append(f'LICENSE """{source.lock.plan.license}"""')
    atomic_write(folder / NAME, ("\n".join(lines) + "\n").encode())
    return {"stop": stops, "template": found is not None}


def stop_tokens(tokenizer: Any, generation: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The tokens that end an answer, each once: those of generation and model configuration, and the tokenizer's."""
    found: list[int] = []
    for value in (generation.get("eos_token_id"), config.get("eos_token_id"), tokenizer.eos_token_id):
        ids = value if isinstance(value, list) else [value]
        found += [id for id in ids if isinstance(id, int) and id not in found]
    return [token for id in found if isinstance(token := tokenizer.convert_ids_to_tokens(id), str)]


def find_format(tokenizer: Any) -> ChatFormat | None:
    """The text around messages, or None where the template is not of that kind (or there is none)."""
    if not tokenizer.chat_template:
        return None

    def render(messages: Sequence[Mapping[str, str]], ask: bool) -> str:
        return render_chat(tokenizer, messages, ask=ask)

    try:
        found = _taken_apart(render)
        known = found is not None and all(found.render(m, ask) == render(m, ask) for m, ask in _conversations(found))
    except Exception:  # noqa: BLE001 - a template of others may raise anything on a conversation that it does not take
        return None
    if found is None or not known:
        return None
    bos = tokenizer.bos_token
    if bos and found.start.startswith(bos):  # ollama puts it there, as the GGUF says
        found = ChatFormat(found.start.removeprefix(bos), found.around, found.answer, found.system)
    texts = [found.start, found.answer, found.system or "", *(text for both in found.around.values() for text in both)]
    return None if any(unsafe in text for text in texts for unsafe in _UNSAFE) else found


def go_template(format: ChatFormat) -> str:
    """In the language of ollama's TEMPLATE, where ``.Messages`` has the system prompt as its first message."""
    branches = []
    for number, (role, (before, after)) in enumerate(format.around.items()):
        word = "if" if number == 0 else "else if"
        branches.append(f'{{{{ {word} eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}')
    body = "".join(branches) + "{{ end }}"
    return f"{format.start}{{{{ range .Messages }}}}{body}{{{{ end }}}}{format.answer}"


def _taken_apart(render: Renderer) -> ChatFormat | None:
    """From five renderings; each text around a message is what one of them has more than another."""
    one, two, three, four = _MARKS
    system, user, again = ({"role": r, "content": c} for r, c in (("system", four), ("user", one), ("user", three)))
    reply = {"role": "assistant", "content": two}
    plain, asked = render([user], False), render([user], True)
    replied, longer = render([user, reply], False), render([user, reply, again], False)
    instructed = render([system, user], False)
    head, _, after_user = plain.partition(one)
    between, _, after_reply = replied.partition(one)[2].partition(two)
    last = longer.partition(two)[2].partition(three)[0]
    begin, _, rest = instructed.partition(four)
    rest = rest.partition(one)[0]
    if not (asked.startswith(plain) and between.startswith(after_user) and last.startswith(after_reply)):
        return None
    before_user = last[len(after_reply) :]
    if not (head.endswith(before_user) and rest.endswith(before_user)):
        return None
    opening, after_system = (text[: len(text) - len(before_user)] for text in (head, rest))
    around = {
        "system": (begin, after_system),
        "user": (before_user, after_user),
        "assistant": (between[len(after_user) :], after_reply),
    }
    answer = asked[len(plain) :]
    if begin.startswith(opening):  # fixed text, such as the first token, opens every conversation
        around["system"] = (begin[len(opening) :], after_system)
        return ChatFormat(opening, around, answer, None)
    if opening.startswith(begin) and opening.endswith(after_system):
        default = opening[len(begin) : len(opening) - len(after_system)]
        return ChatFormat("", around, answer, default)
    return None


def _conversations(format: ChatFormat) -> list[tuple[list[dict[str, str]], bool]]:
    """Others than the ones that the format was found with."""
    turns = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "What is a bus?\nAnd a feeder?"},
        {"role": "assistant", "content": "A node."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Good"},
    ]
    return [(turns[1:2], True), (turns[:2], True), (turns[1:4], True), (turns, True), (turns[:5], False)]


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path) if path.is_file() else {}
    except (OSError, ValueError):
        return {}

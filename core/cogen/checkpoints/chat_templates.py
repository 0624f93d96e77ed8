"""Rendering a model's chat template: the text that transformers makes of it, within limits of time and size."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from cogen.errors import CogenError, CompatibilityError, UnsafeError
from cogen.untrusted.border import border
from cogen.untrusted.templates import LARGEST, Budget, LimitError, limited_environment, render_limited

#: Characters of a template; the longest of a model has some 20,000.
_LONGEST = 200_000


class RejectedError(CompatibilityError):
    """The template takes no such conversation: many take no system message, or two of one role in turn."""


def render_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, ask: bool = False, owner: str = "") -> str:
    """The text of a conversation in the chat template of a tokenizer.

    :param messages: with ``role`` and ``content``.
    :param ask: with the beginning of the assistant's answer at the end.
    :param owner: whose tokenizer it is, for errors.
    :raises RejectedError: the template takes no such conversation, or is not Jinja.
    :raises UnsafeError: it takes too many steps, or writes too much.
    """
    name = owner or str(getattr(tokenizer, "name_or_path", "") or "the tokenizer").rstrip("/").rpartition("/")[2]
    if not _is_transformers(tokenizer):
        with border(f"the chat template of {name} fails", make=RejectedError):
            return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask))
    with border(f"the chat template of {name} cannot be used", make=RejectedError):
        template = tokenizer.get_chat_template()
        variables = {
            "messages": [{key: value for key, value in turn.items() if value is not None} for turn in messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": ask,
            **tokenizer.special_tokens_map,
        }
    roles = ", ".join(str(turn.get("role")) for turn in messages)
    try:
        with border(f"the chat template of {name} rejects {roles}", hint=_HINT, make=RejectedError):
            length = sum(len(str(turn.get("content"))) for turn in messages)
            return render_limited(_compiled(template), variables, Budget.of(len(template) + length))
    except CogenError as error:
        if isinstance(error.__cause__, LimitError):
            raise UnsafeError(
                f"the chat template of {name} {error.__cause__}",
                hint=f"at most {LARGEST:,} characters are written; use another template (--chat-template)",
            ) from error.__cause__
        raise


_HINT = "some models take no system message, or only turns of user and assistant one after the other"


def _is_transformers(tokenizer: Any) -> bool:
    """Is it transformers' own way to render? A plugin's tokenizer may have another one."""
    from transformers import PreTrainedTokenizerBase

    return getattr(type(tokenizer), "apply_chat_template", None) is PreTrainedTokenizerBase.apply_chat_template


@functools.lru_cache(maxsize=32)
def _compiled(template: str) -> Any:
    if len(template) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST:,} characters")
    return _environment().from_string(template)


@functools.cache
def _environment() -> Any:
    """As transformers makes it (``utils/chat_template_utils.py``), so that a template means the same here."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols

    class Generation(Extension):
        """``{% generation %}`` marks what an assistant wrote; it is written as it is."""

        tags = {"generation"}  # noqa: RUF012 - Jinja's

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = limited_environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], cache_size=0
    )
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form[:100])
    return environment

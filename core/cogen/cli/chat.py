"""`cogen chat`: talk to a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cogen.cli.arguments import expert_ids, starting
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter

if TYPE_CHECKING:
    from cogen.api.chat import Chat

Model = Annotated[
    str,
    typer.Argument(
        metavar="[MODEL]",
        help="A folder of a model or a route, an expert's id, `base`, or a source such as hf://ORG/REPO.",
        autocompletion=starting(expert_ids),
    ),
]


def command(
    model: Model = "composite",
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", metavar="TEXT", help="Ask one question; the answer goes to stdout.")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", min=1, help="Maximum new tokens.")] = 256,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="NUMBER", min=0.0, help="Sampling temperature; 0 is greedy.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Random seed of sampling.")] = 0,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="System prompt.")] = None,
) -> None:
    """Talk to a model. Without --prompt: a conversation; an empty line or Ctrl-D ends it."""
    from cogen.errors import UsageError

    if prompt is None and out.mode != "human":
        raise UsageError("--json and --quiet need a single question", hint="ask one question: --prompt")
    from cogen.api.chat import chat

    with CommandReporter() as reporter:
        found = chat(model, system=system, max_tokens=max_tokens, temperature=temperature, seed=seed, reporter=reporter)
        if prompt is None:
            _converse(found)
            return
        answer = found.ask(prompt, on_text=out.stream if out.mode == "human" else None)
    chosen = {} if answer.expert is None else {"expert": answer.expert, "scores": answer.scores}
    out.result({"prompt": prompt, "answer": answer.text, **chosen})


def _converse(chat: Chat) -> None:
    while True:
        try:
            question = input("you: " if sys.stdin.isatty() else "").strip()
        except EOFError:
            break
        if not question:
            break
        chat.ask(question, on_text=out.stream)

"""`cogen chat`: talk to a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli.output import out


def command(
    model: Annotated[str, typer.Argument(help="A folder: a checkpoint or a route; or an expert's id.")] = "composite",
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", help="One question; the answer goes to stdout.")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")] = 256,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0: the likeliest words, the same every time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="For a temperature above 0.")] = 0,
    system: Annotated[str | None, typer.Option("--system", help="What the model is told before the talk.")] = None,
) -> None:
    """Talk to a model. Without --prompt: a conversation; an empty line or Ctrl-D ends it."""
    from cogen.errors import UsageError

    if prompt is None and out.mode != "human":
        raise UsageError("a conversation has no JSON and nothing to be quiet about", hint="ask one question: --prompt")
    answerer = _answerer(model)
    talk: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    options = {"max_new_tokens": max_tokens, "temperature": temperature, "seed": seed}
    if prompt is not None:
        loaded, tokenizer, chosen = answerer(prompt)
        answer = reply(
            loaded, tokenizer, [*talk, {"role": "user", "content": prompt}], streaming=out.mode == "human", **options
        )
        out.result({"prompt": prompt, "answer": answer, **chosen})
        return
    while True:
        try:
            question = input("you: " if sys.stdin.isatty() else "").strip()
        except EOFError:
            break
        if not question:
            break
        talk.append({"role": "user", "content": question})
        # No name is bound to the model here: it would live on while the next question's expert is loaded.
        talk.append({"role": "assistant", "content": reply(*answerer(question)[:2], talk, streaming=True, **options)})


def _answerer(model: str) -> Callable[[str], tuple[Any, Any, dict[str, Any]]]:
    """A function that says which model and tokenizer answer a question; for a route also the expert and the scores."""
    from cogen.checkpoints.load import load_expert, load_expert_tokenizer, load_model, load_tokenizer
    from cogen.checkpoints.model import open_folder, open_weights
    from cogen.host import Host

    folder = Path(model)
    if (folder / "route.json").is_file():
        from cogen.cli.route import Conversation

        route = Conversation(Host.discover(), folder)

        def routed(question: str) -> tuple[Any, Any, dict[str, Any]]:
            choice, loaded, tokenizer = route.answerer(question)
            return loaded, tokenizer, {"expert": choice.expert, "scores": choice.scores}

        return routed
    if folder.is_dir():
        checkpoint = open_folder(folder)
        tokenizer, loaded = load_tokenizer(folder), load_model(checkpoint, "bfloat16")
    else:
        host = Host.discover()
        spec = host.expert(model).spec
        checkpoint = open_weights(spec.model, talk=out.status)
        tokenizer = load_expert_tokenizer(host, spec, checkpoint)
        loaded = load_expert(host, spec, checkpoint, "bfloat16")
    return lambda question: (loaded, tokenizer, {})


def reply(
    model: Any,
    tokenizer: Any,
    talk: list[dict[str, str]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    streaming: bool,
) -> str:
    """The model's next turn, streamed to stdout word by word if asked for."""
    import torch
    from transformers import TextStreamer

    if tokenizer.chat_template:
        inputs = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    else:  # a base model without a template continues the text
        inputs = tokenizer("\n".join(turn["content"] for turn in talk), return_tensors="pt")
    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True) if streaming else None
    torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    with torch.no_grad():
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            streamer=streamer,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            **sampling,
        )
    text: str = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()

"""``cogen.chat``: questions to a model, a composite or a route."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from cogen.api.checks import as_host, as_path, as_text, check_number, check_reporter
from cogen.api.models import is_route, open_model
from cogen.api.options import PathLike
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from cogen.fusion.route.manifest import RouteManifest
    from cogen.fusion.route.router import RoutingDecision
    from cogen.host import Host

#: Model, tokenizer, and of a route who was chosen, for one question.
Answerer: TypeAlias = "Callable[[str], tuple[Any, Any, RoutingDecision | None]]"


@dataclass(frozen=True)
class Answer:
    """A model's answer; of a route also the expert that gave it, and how near each expert was to the question."""

    text: str
    expert: str | None = None
    scores: dict[str, float] | None = None

    def __str__(self) -> str:
        return self.text


@dataclass
class Chat:
    """A conversation; every question is answered with all turns before it.

    :param turns: ``{"role": …, "content": …}``, as a chat template takes them.
    """

    answerer: Answerer
    max_tokens: int
    temperature: float
    seed: int
    turns: list[dict[str, str]] = field(default_factory=list)

    def ask(self, question: str, *, on_text: Callable[[str], None] | None = None) -> Answer:
        """The model's answer.

        :param on_text: called with every piece of the answer as it is generated.
        """
        turns = [*self.turns, {"role": "user", "content": question}]
        model, tokenizer, decision = self.answerer(question)
        text = reply(
            model,
            tokenizer,
            turns,
            max_new_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            on_text=on_text,
        )
        # The model is bound to this call alone: it would live on while the next question's expert is loaded.
        self.turns = [*turns, {"role": "assistant", "content": text}]
        return Answer(text) if decision is None else Answer(text, decision.expert, dict(decision.scores))


def chat(
    model: PathLike,
    *,
    system: str | None = None,
    max_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Chat:
    """A conversation with a model.

    :param model: a model's or a route's folder, an expert's id, ``"base"``, or a source such as ``hf://org/repo``.
    :param system: the system prompt.
    :param max_tokens: the most that one answer may have.
    :param temperature: of sampling; 0 is greedy, and the same every time.
    :raises UsageError: no such folder or expert.
    :raises SpecError, PlanError: a route that cannot be read, or whose experts have changed.
    """
    require("fuse", "cogen.chat")
    check_number("max_tokens", max_tokens, 1, whole=True)
    check_number("temperature", temperature, 0)
    check_number("seed", seed, 0, whole=True)
    check_reporter(reporter)
    turns = [{"role": "system", "content": system}] if system else []
    return Chat(_answerer(model, host, reporter), max_tokens, temperature, seed, turns)


def _answerer(model: PathLike, host: Host | None, reporter: Reporter) -> Answerer:
    from cogen.checkpoints.load import load_expert, load_expert_tokenizer, load_model, load_tokenizer
    from cogen.checkpoints.model import open_folder

    folder, name = as_path("model", model), as_text("model", model)
    if is_route(name):
        return _route(as_host(host), folder, reporter)
    if folder.is_dir():
        tokenizer, loaded = load_tokenizer(folder), load_model(open_folder(folder), "bfloat16")
        return lambda question: (loaded, tokenizer, None)
    host = as_host(host)
    id, checkpoint = open_model(host, name, reporter)
    if id is None:
        tokenizer, loaded = load_tokenizer(checkpoint.folder), load_model(checkpoint, "bfloat16")
    else:
        spec = host.expert(id).spec
        tokenizer, loaded = (
            load_expert_tokenizer(host, spec, checkpoint),
            load_expert(host, spec, checkpoint, "bfloat16"),
        )
    return lambda question: (loaded, tokenizer, None)


def _route(host: Host, folder: Path, reporter: Reporter) -> Answerer:
    """Every question goes to one expert, and one expert is in memory."""
    from cogen.evals.matrix import BASE
    from cogen.fusion.route import check_unmoved, read_route
    from cogen.fusion.route.members import OneAtATime, open_base, open_expert
    from cogen.fusion.route.router import open_router

    manifest = read_route(folder)
    if manifest.ensemble is not None:
        return _together(host, manifest, reporter)
    members: dict[str, Any] = {
        id: functools.partial(open_expert, host, expert, reporter)
        for id, expert in check_unmoved(host, manifest).items()
    }
    if manifest.fallback is not None:
        members[BASE] = functools.partial(open_base, manifest.fallback, reporter)
    router = open_router(folder, manifest, reporter)
    models: OneAtATime = OneAtATime(members, "bfloat16")

    def answer(question: str) -> tuple[Any, Any, RoutingDecision | None]:
        (decision,) = router.choose([question])
        if warning := router.unread([question]):
            reporter.note(warning)
        reporter.note(why(decision))
        return *models.get(decision.expert), decision

    return answer


def _together(host: Host, manifest: RouteManifest, reporter: Reporter) -> Answerer:
    """All experts of a route answer every question as one model."""
    from cogen.fusion.route import check_unmoved, open_members
    from cogen.fusion.route.baselines import check_ensemble
    from cogen.fusion.route.posterior import PosteriorEnsemble

    members = open_members(host, list(check_unmoved(host, manifest).values()), manifest.fallback, reporter)
    check_ensemble(members)
    reporter.note(f"{len(members)} models answer together")
    ensemble = PosteriorEnsemble([member.load("bfloat16") for member in members.values()])
    tokenizer = next(iter(members.values())).tokenizer
    return lambda question: (ensemble, tokenizer, None)


def why(decision: RoutingDecision) -> str:
    """One line: "power answers: similarity to the question 0.050 above general text; next: energy (-0.012)"."""
    from cogen.evals.matrix import BASE

    (first, best), *others = decision.ranking
    others = [(id, score) for id, score in others if id != BASE]
    if first == BASE:
        reason = f"{first} answers: the question is nearer to general text than to any expert"
    else:
        side = f"{best:.3f} nearer to" if best >= 0 else f"{-best:.3f} farther from"
        reason = f"{first} answers: it is {side} the question than general text is"
    return f"{reason}; next {others[0][0]} ({others[0][1]:+.3f})" if others else reason


def reply(
    model: Any,
    tokenizer: Any,
    turns: list[dict[str, str]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """The model's next turn, stripped; its pieces go to ``on_text`` as they are generated."""
    import torch

    from cogen.checkpoints.chat_templates import render_chat

    if tokenizer.chat_template:
        # The template writes the special tokens itself.
        text = render_chat(tokenizer, turns, ask=True)
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    else:  # a base model without a template continues the text
        inputs = tokenizer("\n".join(turn["content"] for turn in turns), return_tensors="pt")
    inputs = inputs.to(model.device)
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            streamer=_streamer(tokenizer, on_text) if on_text is not None else None,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            **sampling,
        )
    written: str = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return written.strip()


def _streamer(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    from transformers import TextStreamer

    class PieceStreamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text + ("\n" if stream_end else ""))

    return PieceStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)

"""`cogen train`: from a recipe to an expert plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli.output import out
from cogen.reporter import Silent


class _Notes(Silent):
    def note(self, text: str) -> None:
        out.status(text)


def command(
    recipe: Annotated[Path, typer.Argument(help="recipe.toml: base, texts, hyper-parameters, card.")],
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would take, and stop.")] = False,
) -> None:
    """Train an expert on its recipe's texts and write weights, suites and data card into its plugin.

    Killed and started again, it resumes. The same recipe on the same machine and thread count gives the same weights.
    """
    from cogen.forge.build import plan as estimate_run
    from cogen.forge.build import prepare, run_training

    prepared = prepare(recipe, _Notes())
    if plan or not (prepared.run / "result").is_dir():
        cost = estimate_run(prepared)
        out.status(
            f"{cost.tokens:,} tokens in {cost.steps:,} steps ({cost.epochs:g} passes over {cost.corpus_tokens:,}), "
            f"{cost.trained_parameters / 1e6:.1f} M trained parameters, about {cost.memory_bytes / 1e9:.1f} GB and "
            f"{_minutes(cost.seconds)} with {cost.threads} threads"
        )
        if plan:
            _show_plan(prepared, cost)
            return
    from cogen.forge.package import publish

    training = prepared.recipe.training
    with out.progress(training.steps, "training", unit="steps") as bar:
        seen = 0

        def report(step: Any) -> None:
            nonlocal seen
            bar.advance(step.step - seen)
            seen = step.step
            bar.describe(
                f"loss {step.loss:.3f}, {step.tokens_per_second:,.0f} tokens/s, {_minutes(step.seconds_left)} left"
            )

        result = run_training(prepared, report)
    with out.progress(None, "measuring", unit="tokens") as bar:
        spec = publish(prepared, result, bar)
    measured = spec.data.training.measured if spec.data.training != "unknown" else ()
    rows = [
        {
            "part": m.part,
            "documents": m.documents,
            "before": f"{m.before:.4f}",
            "after": f"{m.after:.4f}",
            "change": f"{m.after / m.before - 1:+.1%}",
        }
        for m in measured
    ]
    out.table(rows, title=f"{spec.id}: bits per byte of held-out text")
    out.success(f"wrote {prepared.recipe.plugin}; next: pip install -e . && cogen check {spec.id}")
    out.result(
        {"expert": spec.id, "weights_digest": spec.model.weights_digest, "measured": [m.model_dump() for m in measured]}
    )


def _show_plan(prepared: Any, cost: Any) -> None:
    from dataclasses import asdict

    rows = [{"source": name, "tokens": f"{count:,}"} for name, count in prepared.source_tokens.items()]
    out.table(rows, title=f"training text of {prepared.recipe.id}")
    corpus = prepared.corpus
    out.text(
        f"held out: {len(corpus.dev)} dev and {len(corpus.test)} test documents, {corpus.test_overlap:.1%} of whose "
        f"8-grams stand in the training text; removed: {corpus.removed_duplicates} near-copies, "
        f"{corpus.removed_overlapping + corpus.removed_similar} that overlap"
    )
    out.result({"estimate": asdict(cost), "sources": prepared.source_tokens, "overlap": corpus.test_overlap})


def _minutes(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )

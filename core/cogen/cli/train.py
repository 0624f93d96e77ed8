"""`cogen train`: from a recipe to an expert plugin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cogen.cli.audit import show_audit
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cogen.api.training import TrainedExpert, TrainingPlan
    from cogen.forge.account import SourceAccount
    from cogen.spec.suite import Metric, PrivateFigure, PrivateSuite


_METRICS: dict[Metric, str] = {"bits_per_byte": "bits per byte", "acc": "accuracy", "exact_match": "exact match"}


def command(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="recipe.toml: base, texts, hyperparameters, data card.")
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Show what the training would take, and stop.")] = False,
    report_to: Annotated[
        list[str] | None,
        typer.Option(
            "--report-to",
            metavar="NAME",
            help="Experiment tracker that follows the training: wandb, trackio, tensorboard, mlflow. Repeatable.",
        ),
    ] = None,
) -> None:
    """Train an expert on its recipe's texts and write weights, suites and data card into its plugin.

    Text goes into the plugin as far as `leaves` of its source allows: by default not at all. Interrupted and started
    again, it resumes. The same recipe on the same machine and thread count gives the same weights.
    """
    from cogen.api.training import plan_training, train

    with CommandReporter("training") as reporter:
        if plan:
            found = plan_training(recipe, reporter=reporter)
            _show_estimate(found)
            _show_plan(found)
            return
        trained = train(recipe, report_to=report_to or (), on_plan=_show_estimate, reporter=reporter)
    _show(trained, recipe.parent)


def _show(trained: TrainedExpert, home: Path) -> None:
    spec = trained.expert
    measured = spec.data.training.measured if spec.data.training != "unknown" else ()
    rows = [
        {
            "split": m.part,
            "documents": m.documents,
            "before": f"{m.before:.4f}",
            "after": f"{m.after:.4f}",
            "change": f"{m.after / m.before - 1:+.1%}",
        }
        for m in measured
    ]
    _show_accounts(trained.accounts)
    if rows:
        out.table(rows, title=f"{spec.id}: bits per byte of held-out text")
    for suite in spec.private_suites:
        out.table([_figures(suite)], title=f"{spec.id}: {_METRICS[suite.metric]} {_whose(suite)}, with 95 % intervals")
        out.status(f"its text stays in {home / 'private'}: keep that folder, and give it to nobody")
    if trained.at_home:
        metric = _METRICS[trained.at_home.metric]
        title = f"{spec.id}: {metric} of held-out text, for you alone: no file that ships has these figures"
        out.table([_figures(trained.at_home)], title=title)
    if spec.data.audit is not None:
        show_audit(spec.id, spec.data.audit)
    asked = {}
    if trained.chat is not None:
        from cogen.evals.chat import in_words

        asked = {"chat": {"before": trained.chat[0].to_json(), "after": trained.chat[1].to_json()}}
        before, after = trained.chat
        out.text(f"plain questions, base: {in_words(before)}\nplain questions, {spec.id}: {in_words(after)}")
        if after.details["ended"] < before.details["ended"]:
            out.status(
                "the expert ends fewer answers than its base; to prevent it, set document_ends = true and "
                "rehearsal = 0.25 in [training]"
            )
    out.success(f"wrote {trained.folder}; next: cogen check {home}")
    out.result(
        {
            "expert": spec.id,
            "weights_digest": spec.model.weights_digest,
            "measured": [m.model_dump() for m in measured],
            "private_suites": [suite.model_dump(mode="json") for suite in spec.private_suites],
            "audit": spec.data.audit.model_dump(mode="json") if spec.data.audit else None,
            "at_home": trained.at_home.model_dump(mode="json") if trained.at_home else None,
            "accounts": [account.json() for account in trained.accounts],
            **asked,
        }
    )


def _whose(suite: PrivateSuite) -> str:
    return "of the private suite" if suite.id == "private" else f"on the private suite {suite.id}"


def _show_accounts(accounts: Sequence[SourceAccount]) -> None:
    """What became of each source's text: none of it is lost in silence."""
    rows = [
        {
            "source": account.name,
            "files": f"{account.files:,}",
            "read": f"{account.read_bytes:,}",
            "kept": f"{account.kept_share:.1%}",
            "documents": f"{account.kept_documents:,}",
            "dropped": account.reasons(),
            "encoding": account.detected(),
        }
        for account in accounts
    ]
    out.table(rows, title="bytes of text that were read from each source, and what became of them")


def _figures(suite: PrivateSuite) -> dict[str, str | int]:
    def figure(found: PrivateFigure | None) -> str:
        return "unknown" if found is None else f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"

    return {
        "split": suite.split,
        "documents": suite.documents,
        "before": figure(suite.base),
        "after": figure(suite.expert),
    }


def _show_estimate(plan: TrainingPlan) -> None:
    from cogen.api.training import duration

    cost = plan.estimate
    out.status(
        f"{cost.tokens:,} tokens in {cost.steps:,} steps ({cost.epochs:g} epochs of {cost.corpus_tokens:,} tokens), "
        f"{cost.trained_parameters / 1e6:.1f} M trained parameters, about {cost.memory_bytes / 1e9:.1f} GB and "
        f"{duration(cost.seconds)} with {cost.threads} threads: "
        + ", ".join(f"{name} {duration(seconds)}" for name, seconds in cost.parts.items())
        + f" (base and texts took {duration(cost.prepared)})"
    )


def _show_plan(plan: TrainingPlan) -> None:
    from dataclasses import asdict

    rows = [{"source": name, "tokens": f"{count:,}"} for name, count in plan.sources.items()]
    out.table(rows, title=f"training text of {plan.recipe.id}")
    corpus = plan.corpus
    _show_accounts(corpus.accounts)
    left = "an unchecked share" if corpus.test_overlap is None else f"{corpus.test_overlap:.1%}"
    home = corpus.private
    if home is None:
        stays = "none that stay at home"
    else:
        stays = f"{len(home.dev)} dev and {len(home.test)} test documents that stay at home"
        stays += "" if home.figures else ", with all figures on them"
    out.text(
        f"held out: {len(corpus.dev)} dev and {len(corpus.test)} test documents that ship, {stays}; "
        f"{left} of the test documents' 8-grams also occur in the training text; "
        f"removed: {corpus.removed_duplicates} near-duplicates, "
        f"{corpus.removed_overlapping + corpus.removed_similar} that overlap"
    )
    out.result(
        {
            "estimate": asdict(plan.estimate),
            "sources": plan.sources,
            "overlap": corpus.test_overlap,
            "accounts": [account.json() for account in corpus.accounts],
        }
    )

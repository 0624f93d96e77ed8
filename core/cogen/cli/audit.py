"""`cogen audit EXPERT`: what the weights reveal of the training text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cogen.cli.arguments import expert_ids, starting
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter

if TYPE_CHECKING:
    from cogen.spec.data import Audit


def command(
    expert: Annotated[
        str,
        typer.Argument(
            metavar="EXPERT",
            help="recipe.toml, the folder with it, or the id of an expert installed from that folder.",
            autocompletion=starting(expert_ids),
        ),
    ],
    save: Annotated[bool, typer.Option("--save", help="Write the audit into the data card, expert.toml.")] = False,
    prefixes: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Passages of training text to continue; default: 100.")
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Documents of the membership test on each side; default: 100."),
    ] = None,
) -> None:
    """Measure what an expert's weights reveal of its training text: canaries, verbatim extraction, membership.

    The training text must be on this machine. `cogen train` does the same at its end. "no leak found" says that these
    three tests found none; it does not say that there is none.
    """
    from cogen.api.audit import audit

    with CommandReporter("auditing") as reporter:
        found = audit(expert, save=save, prefixes=prefixes, documents=documents, reporter=reporter)
    show_audit(found.expert, found.audit)
    if save:
        out.success(f"wrote {found.manifest}")
    out.result({"expert": found.expert, "audit": found.audit.model_dump(mode="json"), "saved": found.saved})


def show_audit(expert: str, audit: Audit) -> None:
    """A table of the figures and the remarks below it."""
    exposure = "not checked" if not audit.canaries else f"{audit.canary_exposure} of {audit.canary_exposure_most} bits"
    apart = "not checked"
    if audit.membership_auc != "unknown":
        apart = f"AUC {audit.membership_auc:.2f} [{audit.membership_low:.2f}, {audit.membership_high:.2f}]"
    passes = audit.passes if audit.passes == "unknown" else f"{audit.passes:g}"
    rows = [
        {"test": "canaries", "n": audit.canaries, "found": exposure},
        {
            "test": "verbatim extraction",
            "n": audit.extraction_prefixes,
            "found": f"{audit.extraction:.1%}, base {audit.extraction_base:.1%}",
        },
        {"test": "membership", "n": audit.membership_documents, "found": apart},
        {"test": "passes over the corpus", "n": "", "found": passes},
    ]
    out.table(rows, title=f"privacy audit of {expert}: {audit.verdict}")
    for note in audit.notes:
        out.text(f"- {note}")

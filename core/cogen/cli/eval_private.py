"""`cogen eval MODEL --suite private.yaml`, and `--add`: figures of a private suite, measured and put into a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cli.output import Column, out
from cogen.cli.progress import CommandReporter
from cogen.errors import UsageError

if TYPE_CHECKING:
    from cogen.evals.figures import Figures, FiguresDocument, ModelFigure
    from cogen.reporter import Reporter
    from cogen.trust.registries import Registry


@dataclass(frozen=True)
class Asked:
    """The options of the command that matter here; ``None``: not given."""

    level: str | None
    dtype: str | None
    split: str
    max_length: int
    against: str | None
    figures_only: bool
    sign: bool
    key: Path | None
    publish: bool

    @property
    def signs(self) -> bool:
        return self.sign or self.publish or self.key is not None


def private_suite(suites: Sequence[str] | None, asked: Asked) -> str | None:
    """The private suite that was asked for, if it was one.

    :raises UsageError: beside others, at the level quick, or an option of private suites without one.
    """
    from cogen.api.private import is_private_suite

    private = [name for name in suites or () if is_private_suite(name)]
    if not private:
        if asked.figures_only or asked.signs:
            raise UsageError(
                "--figures-only, --sign, --key and --publish are for a private suite",
                hint="name it: --suite private/private.yaml; figures of public suites can be measured by anybody",
            )
        return None
    if len(suites or ()) > 1:
        raise UsageError("a private suite is measured alone", hint="run `cogen eval` once for each suite")
    if asked.level == "quick":
        raise UsageError(
            "a private suite is measured in full: its text digest is of all documents", hint="leave --level out"
        )
    return private[0]


def measure(model: str, suite: str, asked: Asked) -> None:
    """Measure, and print figures: nothing of the text, not even in messages."""
    from cogen.api.private import evaluate_private
    from cogen.reporter import SILENT

    def run(reporter: Reporter) -> Figures:
        return evaluate_private(
            model,
            suite,
            against=asked.against,
            split=asked.split,
            dtype=asked.dtype or "float32",
            max_length=asked.max_length,
            reporter=reporter,
        )

    if asked.figures_only:
        figures = run(SILENT)
    else:
        with CommandReporter("measuring") as shown:
            figures = run(shown)
    document, sent = _signed(figures, asked)
    if sent is not None and not asked.figures_only:
        out.success(f"sent to {sent['registry']}: evaluation {sent['id']} of {sent['expert']} {sent['version']}")
    if asked.figures_only:
        out.mode = "json"
    else:
        _show(figures, model)
    out.result(document.model_dump(mode="json"))


def _signed(figures: Figures, asked: Asked) -> tuple[FiguresDocument, dict[str, Any] | None]:
    from cogen.api.private import signed
    from cogen.evals.figures import FiguresDocument

    if not asked.signs:
        return FiguresDocument(figures=figures), None
    from cogen.trust.registries import chosen, default_key

    registry = chosen()
    document = signed(figures, asked.key or default_key(), registry.publisher if registry else None)
    return document, _send(document, registry) if asked.publish else None


def _send(document: FiguresDocument, registry: Registry | None) -> dict[str, Any]:
    from cogen.remote.client import Client
    from cogen.sharing.publishing.figures import send_figures

    if registry is None or not registry.token:
        raise UsageError("there is no registry to send the figures to", hint="`cogen login URL` first")
    return dict(send_figures(Client(registry), document))


def _show(figures: Figures, name: str) -> None:
    def row(found: ModelFigure) -> dict[str, Any]:
        return {
            "model": found.name,
            "metric": figures.metric,
            "value": f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]",
            "n": figures.documents,
        }

    rows = [row(found) for found in (figures.model, figures.against) if found is not None]
    out.table(
        rows,
        ["model", "metric", "value", Column("n", justify="right")],
        title=f"{name} on the private suite {figures.suite}: {figures.split} split, measured here",
    )
    out.hint("--json prints what can be sent back: these figures, sizes and digests, and no text")


def add_figures(composite: str, file: Path, suites: Sequence[str] | None, asked: Asked) -> None:
    """Check figures that a publisher sent, and put them into the composite's report and card."""
    from cogen.artifacts.private import add_to_composite
    from cogen.host import Host

    if suites or asked.figures_only or asked.signs or asked.against:
        raise UsageError("--add measures nothing", hint=f"cogen eval {composite} --add {file}")
    added = add_to_composite(Path(composite), file, Host.discover())
    who = f"signed by {added.signer}" if added.key else "not signed: nothing says who measured it"
    out.success(
        f"{added.document.figures.suite} of {added.expert}: added to the report of {composite} as measured at the "
        f"publisher's ({who})"
    )
    out.result(
        {"expert": added.expert, "key": added.key, "checked": added.checked, **added.document.model_dump(mode="json")}
    )

"""`cogen eval MODEL --suite private.yaml`, and `--add`: figures of a private suite, measured and put into a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.cli.output import Column, out
from cogen.cli.progress import CommandReporter
from cogen.errors import CogenError, UsageError

if TYPE_CHECKING:
    from cogen.evals.figures import Figures, FiguresDocument, ModelFigure
    from cogen.reporter import Reporter
    from cogen.trust.registries import Registry


PANEL = "Private suites"


@dataclass(frozen=True)
class PrivateOptions:
    """Options of the command for private suites."""

    figures_only: Annotated[
        bool,
        typer.Option(
            "--figures-only", help="Print the figures as JSON and nothing else at all.", rich_help_panel=PANEL
        ),
    ] = False
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign the figures with your publisher's key.", rich_help_panel=PANEL)
    ] = False
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="Private key to sign with; default: your own.", rich_help_panel=PANEL
        ),
    ] = None
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Sign the figures and send them to your registry.", rich_help_panel=PANEL),
    ] = False
    add: Annotated[
        Path | None,
        typer.Option(
            "--add",
            metavar="FILE",
            help="Put figures that a publisher sent back into the composite's report; measures nothing.",
            rich_help_panel=PANEL,
        ),
    ] = None

    @property
    def signs(self) -> bool:
        return self.sign or self.publish or self.key is not None


@dataclass(frozen=True)
class Asked:
    """What the command was asked for; ``None``: not given."""

    model: str
    suites: tuple[str, ...]
    level: str | None
    dtype: str | None
    split: str
    max_length: int
    against: str | None
    private: PrivateOptions


def measured_privately(asked: Asked) -> bool:
    """Carry out what concerns private suites; ``False``: nothing does, so public ones are meant.

    :raises UsageError: see :func:`private_suite`.
    """
    if asked.private.add is not None:
        add_figures(asked, asked.private.add)
        return True
    suite = private_suite(asked)
    if suite is not None:
        measure(suite, asked)
    return suite is not None


def private_suite(asked: Asked) -> str | None:
    """The private suite that was asked for, if it was one.

    :raises UsageError: beside others, at the level quick, or an option of private suites without one.
    """
    from cogen.evals.private import is_private_suite

    private = [name for name in asked.suites if is_private_suite(name)]
    if not private:
        if asked.private.figures_only or asked.private.signs:
            raise UsageError(
                "--figures-only, --sign, --key and --publish are for a private suite",
                hint="name it: --suite private/private.yaml; figures of public suites can be measured by anybody",
            )
        return None
    if len(asked.suites) > 1:
        raise UsageError("a private suite is measured alone", hint="run `cogen eval` once for each suite")
    if asked.level == "quick":
        raise UsageError(
            "a private suite is measured in full: its text digest is of all documents", hint="leave --level out"
        )
    return private[0]


def measure(suite: str, asked: Asked) -> None:
    """Measure, and print figures: nothing of the text, not even in messages."""
    from cogen.api.private import evaluate_private
    from cogen.reporter import SILENT

    def run(reporter: Reporter) -> Figures:
        return evaluate_private(
            asked.model,
            suite,
            against=asked.against,
            split=asked.split,
            dtype=asked.dtype or "float32",
            max_length=asked.max_length,
            reporter=reporter,
        )

    way = _way(asked)  # before measuring, which may take hours
    if asked.private.figures_only:
        figures = run(SILENT)
    else:
        with CommandReporter("measuring") as shown:
            figures = run(shown)
    document, sent = _signed(figures, asked, way)
    if sent is not None and not asked.private.figures_only:
        out.success(f"sent to {sent['registry']}: evaluation {sent['id']} of {sent['expert']} {sent['version']}")
    if asked.private.figures_only:
        out.mode = "json"
    else:
        _show(figures, asked.model)
    out.result(document.model_dump(mode="json"))


@dataclass(frozen=True)
class _Way:
    """What figures are signed with and where they go."""

    key: Path
    registry: Registry | None


def _way(asked: Asked) -> _Way | None:
    """``None``: they are not signed.

    :raises TrustError: the key can't be used. :raises UsageError: there is no registry to send them to.
    """
    if not asked.private.signs:
        return None
    from cogen.sharing.login import password
    from cogen.trust import public_key
    from cogen.trust.registries import chosen, default_key

    registry = chosen()
    if asked.private.publish and (registry is None or not registry.token):
        raise UsageError("there is no registry to send the figures to", hint="`cogen login URL` first")
    key = asked.private.key or default_key()
    public_key(key, password())
    return _Way(key, registry)


def _signed(figures: Figures, asked: Asked, way: _Way | None) -> tuple[FiguresDocument, dict[str, Any] | None]:
    """The figures, and what a registry answered. Where signing or sending fails they are shown first: nobody measures
    twice because a network was down."""
    from cogen.api.private import signed
    from cogen.evals.figures import FiguresDocument
    from cogen.remote.client import Client
    from cogen.sharing.publishing.figures import send_figures

    document = FiguresDocument(figures=figures)
    if way is None:
        return document, None
    try:
        document = signed(figures, way.key, way.registry.publisher if way.registry else None)
        if not asked.private.publish:
            return document, None
        assert way.registry is not None
        return document, dict(send_figures(Client(way.registry), document))
    except CogenError:
        if not asked.private.figures_only:
            _show(figures, asked.model)
        out.status("the figures that were not sent:")
        out.status(document.model_dump_json())
        raise


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


def add_figures(asked: Asked, file: Path) -> None:
    """Check figures that a publisher sent, and put them into the composite's report and card."""
    from cogen.artifacts.private import add_to_composite
    from cogen.host import Host

    composite = asked.model
    if asked.suites or asked.private.figures_only or asked.private.signs or asked.against:
        raise UsageError("--add measures nothing", hint=f"cogen eval {composite} --add {file}")
    with CommandReporter("checking figures") as reporter:
        added = add_to_composite(Path(composite), file, Host.discover(), reporter)
    who = f"signed by {added.signer}" if added.key else "not signed: nothing says who measured it"
    out.success(
        f"{added.document.figures.suite} of {added.expert}: added to the report of {composite} as measured at the "
        f"publisher's ({who})"
    )
    out.result(
        {"expert": added.expert, "key": added.key, "checked": added.checked, **added.document.model_dump(mode="json")}
    )

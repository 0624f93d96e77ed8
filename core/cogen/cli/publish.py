"""`cogen publish`: check, build, sign and upload an expert."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out
from cogen.errors import UsageError


class TargetOption(StrEnum):
    """Where to."""

    registry = "registry"
    pypi = "pypi"
    hub = "hub"


def command(
    folder: Annotated[Path, typer.Argument(help="The plugin's source tree.")] = Path(),
    to: Annotated[
        TargetOption,
        typer.Option(help="registry: ours. pypi: PyPI, and weights to the Hub. hub: weights to the Hub alone."),
    ] = TargetOption.registry,
    weights: Annotated[
        str | None, typer.Option(help="NAMESPACE/NAME for weights that are not in the package; default: TEAM/EXPERT.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Private key in PEM; default: your own, made if missing.")] = None,
    identity: Annotated[
        bool, typer.Option("--identity", help="Sign by Sigstore as who you are (e-mail, CI workflow), without a key.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and check, send nothing.")] = False,
    allow_dependency: Annotated[
        list[str] | None, typer.Option(help="A package that it may require beside cogen-core; may be repeated.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds until it has to be visible.")] = 60.0,
    registry: Annotated[str | None, typer.Option(help="URL, instead of the one that you logged in at.")] = None,
) -> None:
    """Build a wheel in isolation, check it, sign it, and upload it with its weights; after an interrupt, run it again.

    Weights come first. Those that [model] names with file://FOLDER are uploaded and pinned in expert.toml.
    """
    from dataclasses import asdict

    from cogen.sharing.publishing.publish import Order, carry_out, prepare
    from cogen.sharing.registry import required
    from cogen.trust import IdentitySigner
    from cogen.trust.registries import chosen

    known = None
    if to == TargetOption.registry:  # a dry run sends nothing, so it needs nowhere to send it
        known = chosen(registry) if dry_run else required(registry)
    if identity and key is not None:
        raise UsageError("--identity and --key are two ways to sign", hint="leave one out")
    signer = IdentitySigner() if identity else key
    order = Order(folder.resolve(), known, to == TargetOption.hub, weights, signer, wait, tuple(allow_dependency or ()))
    with tempfile.TemporaryDirectory(prefix="cogen-publish-") as place:
        wheel, outcome = prepare(order, Path(place), out.status)
        elsewhere = {"pypi": "PyPI and the Hub", "hub": "the Hub", "registry": "a registry"}
        where = known.url if known else elsewhere[to.value]
        if dry_run:
            out.success(f"{wheel.project} {wheel.version} could be published to {where}; nothing was sent")
            out.result({**asdict(outcome), "to": where})
            return
        question = f"publish {wheel.project} {wheel.version} to {where}? A released version can't be changed."
        if not out.confirm(question, yes=yes):
            raise typer.Exit(1)
        outcome = carry_out(order, wheel, outcome, out.status)
    out.result({**asdict(outcome), "to": where})
    if outcome.state != "released":
        out.error(f"{outcome.project} {outcome.version} is in quarantine, nobody sees it: {outcome.reason}")
        out.hint("mend what it says, or wait; `cogen publish` asks again")
        raise typer.Exit(1)
    how = f"as {outcome.identity}" if outcome.identity else f"with {outcome.key}"
    out.success(f"published {outcome.project} {outcome.version} to {where}, signed {how}")

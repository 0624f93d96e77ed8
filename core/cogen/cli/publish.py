"""`cogen publish`: check, build, sign and upload an expert."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.choices import TARGETS
from cogen.cli.arguments import AllowDependency, choice
from cogen.cli.output import out
from cogen.errors import UsageError

if TYPE_CHECKING:
    from cogen.sharing.publishing.publish import PublishResult
    from cogen.trust import IdentitySigner


Target = Annotated[
    str,
    choice(
        "target",
        TARGETS,
        "--to",
        help="registry: weights and package. pypi: package to PyPI, weights to the Hub. hub: weights only.",
    ),
]

Repository = Annotated[
    str | None,
    typer.Option(
        metavar="NAMESPACE/NAME", help="Repository for weights that are not in the package; default: TEAM/EXPERT."
    ),
]

TextsElsewhere = Annotated[
    bool,
    typer.Option(
        "--texts-elsewhere",
        help="Publish although the private text of recipe.toml is not on this machine, and nothing is compared "
        "with it.",
    ),
]


def command(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The plugin's source tree.")] = Path(),
    to: Target = "registry",
    weights: Repository = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key (PEM); default: your own, created if missing.")
    ] = None,
    identity: Annotated[
        bool,
        typer.Option("--identity", help="Sign with Sigstore by your identity (e-mail, CI workflow) instead of a key."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build, check, list what would leave; upload nothing.")
    ] = False,
    texts_elsewhere: TextsElsewhere = False,
    allow_dependency: AllowDependency = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until it is visible.")] = 60.0,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Registry to use instead of the one that you logged in to.")
    ] = None,
) -> None:
    """Build a wheel in isolation, check it, sign it, and upload it with its weights.

    Before anything leaves, every file that will is listed, with the text in it, and you are asked. After an
    interruption, run it again. Weights are uploaded first; those that [model] names with file://FOLDER are
    then pinned in expert.toml.
    """
    from dataclasses import replace

    from cogen.cli.render_packing import packing_lines
    from cogen.sharing.publishing.publish import Order, carry_out, prepare
    from cogen.sharing.publishing.weights import set_apart, without_large
    from cogen.sharing.registry import required
    from cogen.trust.registries import chosen

    # a dry run sends nothing, so it needs nowhere to send it
    known = (chosen if dry_run else required)(registry) if to == "registry" else None
    allowed, home = tuple(allow_dependency or ()), folder.resolve()
    order = Order(home, known, to == "hub", weights, _signer(identity, key), wait, allowed, home, texts_elsewhere)
    where = known.url if known else {"pypi": "PyPI and the Hub", "hub": "the Hub", "registry": "a registry"}[to]
    with tempfile.TemporaryDirectory(prefix="cogen-publish-") as place:
        if dry_run:
            with without_large(order.folder, out.status) as tree:
                wheel, outcome = prepare(replace(order, folder=tree), Path(place), out.status)
            assert outcome.packing is not None
            out.text("\n".join(packing_lines(outcome.packing)))
            out.success(f"{wheel.project} {wheel.version} could be published to {where}; nothing was uploaded")
            out.result(_data(outcome, where))
            return
        set_apart(order.folder, out.status)
        wheel, outcome = prepare(order, Path(place), out.status)
        assert outcome.packing is not None
        for line in packing_lines(outcome.packing):
            out.status(line)
        question = f"publish {wheel.project} {wheel.version} to {where}: {outcome.packing.sentence()}?"
        if not _agreed(f"{question} A released version cannot be changed.", yes):
            raise typer.Exit(1)
        outcome = carry_out(order, wheel, outcome, out.status)
    _finish(outcome, where)


def _agreed(question: str, yes: bool) -> bool:
    """:raises UsageError: nobody is there to be asked."""
    try:
        return out.confirm(question, yes=yes)
    except UsageError as error:
        hint = "read the list of `cogen publish --dry-run` (with --json for scripts), then pass --yes"
        raise UsageError(error.message, hint=hint) from None


def _data(outcome: PublishResult, where: str) -> dict[str, Any]:
    from dataclasses import asdict

    from cogen.cli.render_packing import packing_data

    packing = packing_data(outcome.packing) if outcome.packing is not None else None
    return {**asdict(outcome), "packing": packing, "to": where}


def _signer(identity: bool, key: Path | None) -> IdentitySigner | Path | None:
    from cogen.trust import IdentitySigner

    if identity and key is not None:
        raise UsageError("--identity and --key exclude each other", hint="leave one out")
    return IdentitySigner() if identity else key


def _finish(outcome: PublishResult, where: str) -> None:
    """The result; ends with exit code 1 where it is not released."""
    out.result(_data(outcome, where))
    if outcome.state != "released":
        out.error(f"{outcome.project} {outcome.version} is in quarantine and not visible: {outcome.reason}")
        out.hint("fix the reason given, or wait; `cogen publish` asks again")
        raise typer.Exit(1)
    how = f"as {outcome.identity}" if outcome.identity else f"with {outcome.key}"
    out.success(f"published {outcome.project} {outcome.version} to {where}, signed {how}")

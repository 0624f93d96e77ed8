"""`cogen add`: verify an expert of the registry, install it, and record what it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.choices import unknown
from cogen.cli.arguments import AllowDependency, with_groups
from cogen.cli.output import out

if TYPE_CHECKING:
    from cogen.remote.client import Client
    from cogen.sharing.add import Verified
    from cogen.sharing.binding import Bound
    from cogen.sharing.resolve import Release
    from cogen.sharing.signatures import Trusted


@dataclass(frozen=True)
class ConsentOptions:
    """What the user agrees to."""

    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Accept an expert that is not signed.")] = (
        False
    )
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT", help="The publisher's key, as they gave it to you; also accepts a new key of theirs."
        ),
    ] = None
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Accept a plugin with code, which runs with your permissions.")
    ] = False
    allow_dependency: AllowDependency = None
    allow_upgrade: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="An installed package that may be replaced for that. Repeatable."),
    ] = None
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="registry|publisher", help="What may differ from the project's file: registry or publisher."
        ),
    ] = None
    allow_unverified: Annotated[
        bool,
        typer.Option("--allow-unverified-registry", help="Accept a registry of an older version: it signs nothing."),
    ] = False


@dataclass(frozen=True)
class Found:
    """A release that may be installed, and why it is trusted."""

    client: Client
    release: Release
    bound: Bound | None
    trusted: Trusted | None


@with_groups
def command(
    name: Annotated[str, typer.Argument(metavar="NAME[==VERSION]", help="An expert's id, or its distribution's name.")],
    consent: ConsentOptions,
    project: Annotated[Path, typer.Option(metavar="FILE", help="The project file that records it.")] = Path(
        "cogen.toml"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Verify everything, install nothing.")] = False,
    weights: Annotated[bool, typer.Option(help="Also fetch and verify weights that the registry holds.")] = True,
    with_: Annotated[
        str | None,
        typer.Option("--with", metavar="pip|uv", help="Installer; default: the one that made this environment."),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Registry to use instead of the one that you logged in to.")
    ] = None,
) -> None:
    """Install an expert after checking who signed it: exactly the file that was verified.

    The registry's root and a project's keys are trusted on first use; other ones are rejected later. An expert is
    data: one that contains code needs --allow-code. It requires cogen-core alone: nothing else is installed, and no
    package index is asked.
    """
    from cogen.sharing import add, environment

    tool = environment.tool(with_)
    found = _find(name, consent, registry, project)
    client, release = found.client, found.release
    allowed = add.consented(
        release,
        project,
        code=consent.allow_code,
        allow=consent.allow_dependency or (),
        upgrade=consent.allow_upgrade or (),
    )
    with out.progress(None, f"fetching {release.filename}", "bytes") as bar:
        verified = add.fetch(
            client, release, found.trusted, weights=weights, consent=allowed, advance=bar.advance, bound=found.bound
        )
    verified = add.prepare(verified, tool)
    _show(found, verified)
    facts, signed = _facts(found, verified), _signed(found)
    if dry_run:
        out.success(f"{release.project} {release.version} is {signed}; nothing was installed")
        out.result({**facts, "installed": False})
        return
    out.status(f"installing {release.filename} with {tool}")
    receipt = add.install(client, verified, tool, project)
    for one in verified.weights:
        if one.files:
            out.status(f"weights {one.source}: {len(one.files)} files, {'signed' if one.signed else 'as pinned'}")
    out.success(f"added {', '.join(receipt.experts)} ({release.project} {release.version}), {signed}; see {project}")
    out.result({**facts, "installed": True, "installer": receipt.installer, "project_file": str(project)})


def _find(name: str, consent: ConsentOptions, registry: str | None, project: Path) -> Found:
    """Ask the registry, and check its root, the release and its signature, in this order."""
    from cogen.remote.client import Client
    from cogen.remote.errors import RegistryError
    from cogen.sharing import add
    from cogen.sharing.history import ACCEPT
    from cogen.sharing.registry import required
    from cogen.sharing.resolve import parse
    from cogen.sharing.snapshot import recover

    wanted, version = parse(name)
    accept = consent.accept or []
    if wrong := [one for one in accept if one not in ACCEPT]:
        raise unknown("--accept", wrong[0], ACCEPT)
    client = Client(required(registry))
    for left in recover():
        out.warn(f"an earlier `cogen add` of {left} was interrupted: the previous state was restored")
    release, bound = _resolve(client, wanted, version, consent.allow_unverified)
    if release.yanked:
        why = f": {bound.listed.yanked}" if bound is not None and bound.listed.yanked else ""
        yanked = f"{release.project} {release.version} was yanked by {release.publisher}{why}"
        if version is None:  # nothing newer is left: as with pip, only who names the version gets it
            raise RegistryError(yanked, hint=f"`cogen add {wanted}=={release.version}` installs it all the same")
        out.warn(yanked)
    trusted = add.check(
        client,
        release,
        key=consent.key,
        allow_unsigned=consent.allow_unsigned,
        file=project,
        bound=bound,
        accept=frozenset(accept),
    )
    _show_trust(release, trusted, wanted, consent.key)
    return Found(client, release, bound, trusted)


def _resolve(client: Client, wanted: str, version: str | None, allow_unverified: bool) -> tuple[Release, Bound | None]:
    from cogen.sharing.binding import bind, check_asked, known_names
    from cogen.sharing.names import pinned_identity
    from cogen.sharing.resolve import resolve

    first = pinned_identity(client.url) is None
    names = known_names(client, allow_untold=allow_unverified)
    if names is None:
        out.warn(f"{client.url} signs nothing: whoever answers in its place can choose what you get")
    elif first:
        out.status(
            f"trusting the root {names.identity} of {client.url} on first use: compare it with the fingerprint that "
            "its operator publishes; `cogen login --root-key` does it"
        )
    release = resolve(client, wanted, version)
    if names is None:
        check_asked(release, wanted, version, client.url)
        return release, None
    bound_release, bound = bind(names, release, wanted, version)
    return bound_release, bound


def _show_trust(release: Release, trusted: Trusted | None, wanted: str, key: str | None) -> None:
    from cogen.trust import read_identity

    if trusted is None:
        out.warn(f"{release.project} {release.version} is not signed: only the registry says that it is {wanted}")
    elif trusted.first:
        how = "as you asked" if key else "on first use; --key FINGERPRINT compares it with what the publisher gave you"
        identity = read_identity(trusted.public_key)
        whose = f"{identity}, {trusted.key}," if identity else f"the key {trusted.key}"
        out.status(f"trusting {whose} of {release.publisher} {how}")


def _show(found: Found, verified: Verified) -> None:
    release = found.release
    kind = "a plugin with code" if verified.wheel.code else "data only"
    out.status(f"{release.project} {release.version} is {kind}")
    for one in verified.beside:
        instead = f" in place of {one.instead}" if one.instead else ""
        out.status(f"it brings {one.name} {one.version}{instead} (sha256 {one.sha256})")


def _facts(found: Found, verified: Verified) -> dict[str, Any]:
    release, trusted = found.release, found.trusted
    return {
        "project": release.project,
        "version": release.version,
        "experts": [s.id for s in verified.wheel.experts],
        "publisher": release.publisher,
        "key": trusted.key if trusted else None,
        "sha256": release.sha256,
        "registry": found.client.url,
        "kind": "code" if verified.wheel.code else "data",
        "beside": [str(one) for one in verified.beside],
        "weights": [one.model_dump(exclude={"files"}) for one in verified.weights],
    }


def _signed(found: Found) -> str:
    from cogen.trust import brief

    trusted = found.trusted
    return f"signed by {found.release.publisher} ({brief(trusted.public_key)})" if trusted else "not signed"

"""`cogen add`: verify an expert of the registry, install it, and write down what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli.output import out


def command(
    name: Annotated[str, typer.Argument(help="NAME or NAME==VERSION: an expert's id, or its distribution.")],
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Accept what nobody signed.")] = False,
    key: Annotated[
        str | None, typer.Option(help="Fingerprint that the publisher gave you; accepts a key that is new, too.")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Accept a plugin with code, which can do what you can.")
    ] = False,
    allow_dependency: Annotated[
        list[str] | None, typer.Option(help="A package that it may require beside cogen-core; may be repeated.")
    ] = None,
    allow_upgrade: Annotated[
        list[str] | None, typer.Option(help="An installed package that may be replaced for that; may be repeated.")
    ] = None,
    project: Annotated[Path, typer.Option(help="The file that records it.")] = Path("cogen.toml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Verify everything, install nothing.")] = False,
    weights: Annotated[bool, typer.Option(help="Fetch and verify weights that the registry holds, too.")] = True,
    with_: Annotated[str | None, typer.Option("--with", help="pip or uv; default: what made this environment.")] = None,
    registry: Annotated[str | None, typer.Option(help="URL, instead of the one that you logged in at.")] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="What may differ from the project's file: registry, publisher.")
    ] = None,
    allow_unverified: Annotated[
        bool,
        typer.Option("--allow-unverified-registry", help="Accept a registry of an older version: it signs nothing."),
    ] = False,
) -> None:
    """Install an expert after checking who signed it: exactly the file that was verified.

    The registry's root and a project's keys are remembered when they are first seen; others are refused later. An
    expert is data: one that holds code needs --allow-code. It requires cogen-core alone: nothing else is installed, no
    index is asked.
    """
    from cogen.errors import UsageError
    from cogen.remote.client import Client
    from cogen.sharing import add, environment
    from cogen.sharing.binding import bind, check_asked, known_names
    from cogen.sharing.history import ACCEPT
    from cogen.sharing.names import pinned_identity
    from cogen.sharing.registry import required
    from cogen.sharing.resolve import parse, resolve
    from cogen.sharing.snapshot import recover
    from cogen.trust import brief, read_identity

    wanted, version = parse(name)
    tool = environment.tool(with_)
    if unknown := [one for one in accept or () if one not in ACCEPT]:
        raise UsageError(f"--accept {unknown[0]} means nothing", hint=f"it takes {' or '.join(ACCEPT)}")
    client = Client(required(registry))
    for left in recover():
        out.warn(f"an earlier add of {left} was killed: what was there before was put back")
    first = pinned_identity(client.url) is None
    names = known_names(client, allow_untold=allow_unverified)
    if names is None:
        out.warn(f"{client.url} signs nothing: whoever answers in its place can choose what you get")
    elif first:
        out.status(
            f"trusting the root {names.identity} of {client.url} for the first time: compare it with what its "
            "operator says; `cogen login --root-key` does it"
        )
    release = resolve(client, wanted, version)
    bound = None
    if names is None:
        check_asked(release, wanted, version, client.url)
    else:
        release, bound = bind(names, release, wanted, version)
    if release.yanked:
        why = f": {bound.listed.yanked}" if bound is not None and bound.listed.yanked else ""
        out.warn(f"{release.project} {release.version} was yanked by {release.publisher}{why}")
    trusted = add.check(
        client,
        release,
        key=key,
        allow_unsigned=allow_unsigned,
        file=project,
        bound=bound,
        accept=frozenset(accept or ()),
    )
    if trusted is None:
        out.warn(f"{release.project} {release.version} is not signed: only the registry says that it is {wanted}")
    elif trusted.first:
        how = (
            "as you asked" if key else "for the first time; --key FINGERPRINT would compare it with what you were told"
        )
        identity = read_identity(trusted.public_key)
        whose = f"{identity}, {trusted.key}," if identity else f"the key {trusted.key}"
        out.status(f"trusting {whose} of {release.publisher} {how}")
    consent = add.consented(
        release, project, code=allow_code, allow=allow_dependency or (), upgrade=allow_upgrade or ()
    )
    with out.progress(None, f"fetching {release.filename}", "bytes") as bar:
        verified = add.fetch(
            client, release, trusted, weights=weights, consent=consent, advance=bar.advance, bound=bound
        )
    verified = add.prepare(verified, tool)
    kind = "code" if verified.wheel.code else "data"
    out.status(f"{release.project} {release.version} is {'a plugin with code' if kind == 'code' else 'data alone'}")
    for one in verified.beside:
        instead = f" in place of {one.instead}" if one.instead else ""
        out.status(f"it brings {one.name} {one.version}{instead} (sha256 {one.sha256})")
    facts: dict[str, Any] = {
        "project": release.project,
        "version": release.version,
        "experts": [s.id for s in verified.wheel.experts],
        "publisher": release.publisher,
        "key": trusted.key if trusted else None,
        "sha256": release.sha256,
        "registry": client.url,
        "kind": kind,
        "beside": [str(one) for one in verified.beside],
        "weights": [one.model_dump(exclude={"files"}) for one in verified.weights],
    }
    signed = f"signed by {release.publisher} ({brief(trusted.public_key)})" if trusted else "not signed"
    if dry_run:
        out.success(f"{release.project} {release.version} is {signed}; nothing was installed")
        out.result({**facts, "installed": False})
        return
    out.status(f"installing {release.filename} with {tool}")
    receipt = add.install(client, verified, tool, project)
    for one in verified.weights:
        if one.files:
            how = "signed" if one.signed else "as the wheel pins them"
            out.status(f"weights {one.source}: {len(one.files)} files, {how}")
    out.success(f"added {', '.join(receipt.experts)} ({release.project} {release.version}), {signed}; see {project}")
    out.result({**facts, "installed": True, "installer": receipt.installer, "project_file": str(project)})

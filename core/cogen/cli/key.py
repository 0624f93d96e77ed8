"""`cogen key`: a publisher's signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.output import out
from cogen.errors import UsageError

Registry = Annotated[
    str | None, typer.Option(metavar="URL", help="Registry to use instead of the one that you logged in to.")
]


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    app.command("list")(list_)
    app.command("rotate")(rotate)
    app.command("revoke")(revoke)


def list_(registry: Registry = None) -> None:
    """List your keys at the registry, and the projects that each of them signs."""
    from dataclasses import asdict

    from cogen.remote.client import Client
    from cogen.sharing.publishing.rotation import keys_of
    from cogen.sharing.registry import required

    found = keys_of(Client(required(registry)))
    for one in found:
        state = f"revoked {one.revoked[:10]}" if one.revoked else "yours" if one.own else "valid"
        out.text(f"{one.fingerprint}  {state}  {', '.join(one.projects) or 'signs no project'}")
    out.result({"keys": [asdict(one) for one in found]})


def rotate(
    new: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="New private key (PEM), created if missing; default: next to the old one."),
    ] = None,
    old: Annotated[Path | None, typer.Option(metavar="FILE", help="The key to replace; default: your own.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    registry: Registry = None,
) -> None:
    """Replace your key by a new one in all of your projects. The old key signs the change, so users need do nothing.

    After an interruption, run it again. What the old key signed stays valid until `cogen key revoke`.
    """
    from dataclasses import asdict

    from cogen.remote.client import Client
    from cogen.sharing.publishing import rotation
    from cogen.sharing.registry import required
    from cogen.trust.registries import default_key

    leaving = old or default_key()
    coming = new or leaving.with_name("next.pem")
    client = Client(required(registry))
    if not out.confirm(f"replace the key {leaving} in all of your projects at {client.url}?", yes=yes):
        raise typer.Exit(1)
    done = rotation.rotate(client, leaving, coming, out.status)
    if old is None and new is None:
        kept = rotation.adopt(leaving, coming)
        done.key_file = str(leaving)
        out.status(f"{leaving} is the new key; the old one is {kept}")
    many = f"{len(done.projects)} projects are" if len(done.projects) != 1 else "1 project is"
    out.success(f"{many} signed with {done.new} from now on, no longer with {done.old}")
    out.hint(f"publish the new fingerprint; if somebody else may have the old key: cogen key revoke {done.old}")
    out.result(asdict(done))


def revoke(
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="sha256:…, as `cogen key list` shows it.")],
    resign: Annotated[
        bool, typer.Option("--resign", help="Sign the releases that it signed again, with your current key.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    registry: Registry = None,
) -> None:
    """Revoke a key, permanently: nobody can install what only it signed. Rotate first if it still signs projects."""
    from cogen.remote.client import Client
    from cogen.sharing.publishing import rotation
    from cogen.sharing.registry import required
    from cogen.trust.registries import default_key

    client = Client(required(registry))
    own = default_key()
    if resign and not own.exists():
        raise UsageError(f"no signing key at {own}", hint="leave --resign out")
    still = rotation.signs_still(client, fingerprint)
    warning = f" It signs {', '.join(still)}: nobody will be able to install these." if still else ""
    if not out.confirm(f"revoke {fingerprint} at {client.url}?{warning} This cannot be undone.", yes=yes):
        raise typer.Exit(1)
    again = rotation.revoke(client, fingerprint, again=own if resign else None, say=out.status)
    out.success(f"revoked {fingerprint}")
    out.result({"revoked": fingerprint, "signed_again": again, "unusable": still})

"""What was asked for is what came: a release is bound to what the registry signed of its project."""

from __future__ import annotations

from dataclasses import dataclass, replace

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cogen.errors import UsageError
from cogen.files import config_dir
from cogen.remote.client import Client
from cogen.remote.errors import NotThere
from cogen.sharing.names import ListedNames, Names, Untold, open_names
from cogen.sharing.resolve import Release, resolve
from cogen.trust.errors import TrustError

_TELL = "do not use it, and tell the registry's operator"


@dataclass(frozen=True)
class Bound:
    """A release that the registry's signed metadata names."""

    names: Names
    listed: ListedNames


def known_names(client: Client, *, allow_untold: bool = False, root_key: str | None = None) -> Names | None:
    """What the registry signed; ``None``: nothing, and that is allowed.

    :raises Untold: it signs nothing. :raises TrustError: it doesn't hold.
    """
    try:
        return open_names(client, root_key=root_key)
    except Untold as error:
        if allow_untold:
            return None
        raise Untold(
            error.message, hint=f"{error.hint}; until then, at your own risk: --allow-unverified-registry"
        ) from error


def bind(names: Names, release: Release, wanted: str, version: str | None) -> tuple[Release, Bound]:
    """Compare what the registry answered with what was asked and with what it signed.

    :param wanted: an expert's id, or a project. :param version: ``None``: the newest.
    :raises TrustError: it is something else.
    """
    check_asked(release, wanted, version, names.client.url)
    if version is None and (newest := _newest(names, release, wanted)) not in (None, Version(release.version)):
        release = _that(names, release, wanted, str(newest))
    found = _listed(names, release)
    if found is None:  # published since the metadata was read
        names = open_names(names.client)
        found = _listed(names, release)
    if found is None:
        raise TrustError(
            f"{names.client.url} offers {release.project} {release.version}, which its signed metadata does not name",
            hint=_TELL,
        )
    for field in ("filename", "sha256", "size", "publisher"):
        if getattr(found, field) != getattr(release, field):
            raise TrustError(
                f"{release.project} {release.version}: {names.client.url} answers with {field} "
                f"{getattr(release, field)}, its signed metadata says {getattr(found, field)}",
                hint=_TELL,
            )
    if release.expert not in found.experts:
        raise TrustError(f"{release.project} {release.version} does not hold {release.expert}", hint=_TELL)
    owner = names.pins.experts.get(release.expert)
    if owner is not None and owner != release.project:
        raise TrustError(
            f"the expert {release.expert} belonged to {owner} when it was seen before; now {release.project} has it",
            hint=f"ask the registry's operator; if it is right, take it out of {config_dir() / 'pins.json'}",
        )
    return replace(release, yanked=found.yanked is not None), Bound(names, found)


def check_asked(release: Release, wanted: str, version: str | None, url: str) -> None:
    """:raises TrustError: the answer is about another expert, project or version than was asked for."""
    if release.expert != wanted.lower() and release.project != canonicalize_name(wanted):
        raise TrustError(
            f"asked for {wanted}, {url} answers with {release.expert} of {release.project} {release.version}",
            hint=_TELL,
        )
    try:
        same = version is None or Version(version) == Version(release.version)
    except InvalidVersion as error:
        raise UsageError(f"{version!r} is not a version", hint="it looks like 1.0.2") from error
    if not same:
        raise TrustError(
            f"asked for {wanted}=={version}, {url} answers with {release.project} {release.version}", hint=_TELL
        )


def _listed(names: Names, release: Release) -> ListedNames | None:
    try:
        version = Version(release.version)
    except InvalidVersion:
        return None
    return next((one for one in names.releases(release.project) if Version(one.version) == version), None)


def _newest(names: Names, release: Release, wanted: str) -> Version | None:
    """Of what is not yanked: final before pre-releases. ``None``: there is nothing like that."""
    by_expert = release.expert == wanted.lower()
    pool = [
        Version(one.version)
        for one in names.releases(release.project)
        if one.yanked is None and (not by_expert or release.expert in one.experts)
    ]
    return max(pool, key=lambda one: (not one.is_prerelease, one), default=None)


def _that(names: Names, release: Release, wanted: str, newest: str) -> Release:
    """The release that the signed metadata names as the newest, where the registry showed another one.

    :raises TrustError: the registry does not show it.
    """
    try:
        found = resolve(names.client, wanted, newest)
    except NotThere as error:
        raise TrustError(
            f"{names.client.url} shows {release.project} {release.version} as the newest and leaves out {newest}, "
            "which its signed metadata names",
            hint="it shows the past: tell its operator",
        ) from error
    check_asked(found, wanted, newest, names.client.url)
    return found

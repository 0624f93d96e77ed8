"""Weights that a wheel pins and a registry holds: fetched, compared with the signed digest, and their own signature."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from cogen.checkpoints.digests import check_file, sha256_file
from cogen.checkpoints.sources.hf import _PATTERNS
from cogen.checkpoints.sources.registry import place_of, resolve, snapshot, tree
from cogen.errors import DigestError
from cogen.remote.client import Client
from cogen.remote.errors import NotThere
from cogen.spec.expert import ExpertSpec
from cogen.trust import check_folder
from cogen.trust.errors import TrustError
from cogen.trust.receipts import ReceivedWeights
from cogen.trust.signing import SIGNATURE

if TYPE_CHECKING:
    from cogen.sharing.signatures import Trusted

#: What a signed folder of weights says of itself: a copy in another repository, or for another project, is found out.
MANIFEST = "cogen-manifest.json"
_HF = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([0-9a-f]{40}))?")


def make_manifest(repository: str, publisher: str, project: str, version: str) -> dict[str, Any]:
    """The content of :data:`MANIFEST`."""
    return {
        "schema": 1,
        "repository": repository,
        "publisher": publisher,
        "project": project,
        "version": version,
    }


def sources(spec: ExpertSpec) -> ReceivedWeights:
    """What a manifest pins, before any of it was fetched."""
    return ReceivedWeights(
        expert=spec.id, source=spec.model.source, revision=spec.model.revision, file_digest=spec.model.file_digest
    )


def base_sources(spec: ExpertSpec) -> ReceivedWeights | None:
    """The base that a manifest pins, where it is an hf:// source; its publisher is often another one."""
    base = spec.model.base
    if base is None or not base.source.startswith("hf://"):
        return None
    return ReceivedWeights(expert=spec.id, source=base.source, revision=base.revision, file_digest=base.file_digest)


def address(weights: ReceivedWeights) -> tuple[str, str] | None:
    """(repository, commit) of a whole hf:// folder."""
    match = _HF.fullmatch(weights.source)
    revision = match and (match[2] or weights.revision)
    return (match[1], revision) if match and revision else None


def received(
    client: Client,
    weights: ReceivedWeights,
    trusted: Trusted | None,
    project: str,
    advance: Callable[[int], None] = lambda _: None,
) -> ReceivedWeights:
    """Fetch and check weights if this registry holds them; others are checked when they are fetched.

    :param trusted: the release's signature; without one, only the digest of the wheel's manifest is compared.
    :raises DigestError: other bytes than were pinned. :raises TrustError: their own signature doesn't hold.
    """
    place = address(weights)
    if place is None:
        return weights
    repository, revision = place
    try:
        files = tree(client, repository, revision)
    except NotThere:
        return weights  # the Hub's, say
    home = snapshot(client.registry, repository, revision, _PATTERNS, advance=advance)
    try:
        check_file(home, weights.file_digest, f"{repository} at {revision[:8]}")
        signed = SIGNATURE in files and trusted is not None
        if signed:
            assert trusted is not None
            _check_signature(client, home, repository, revision, trusted, project)
    except (DigestError, TrustError):
        forget(client, weights)
        raise
    return weights.model_copy(update={"files": listing(home), "signed": signed})


def forget(client: Client, weights: ReceivedWeights) -> None:
    """Drop a snapshot from our cache."""
    import shutil

    if place := address(weights):
        shutil.rmtree(place_of(client.registry, *place), ignore_errors=True)


def listing(folder: Path) -> dict[str, str]:
    """Path → hex SHA-256 of every file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def _check_signature(
    client: Client, home: Path, repository: str, revision: str, trusted: Trusted, project: str
) -> None:
    """The repository's own signature: over everything in it, by the same key, and made for this place."""
    try:
        bundle = json.loads(client.read(resolve(repository, revision, SIGNATURE), 16 << 20))
    except ValueError as error:
        raise TrustError(f"{SIGNATURE} of {repository} is not JSON", hint="ask its publisher to sign again") from error
    # Linked, not the cache itself: the signature also covers files that a model does not load (and we did not fetch).
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".signed-") as place:
        whole = Path(place)
        for path, (size, sha256) in tree(client, repository, revision).items():
            target = whole / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if (home / path).is_file():
                os.link(home / path, target)
            else:
                client.download(resolve(repository, revision, path), target, size=size, sha256=sha256)
        try:
            check_folder(whole, bundle, trusted.public_key)
        except TrustError as error:
            raise TrustError(f"the weights {repository}: {error.message}", hint=error.hint) from error
    _check_manifest(home / MANIFEST, repository, trusted, project)


def _check_manifest(path: Path, repository: str, trusted: Trusted, project: str) -> None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        named = (str(value["repository"]), str(value["publisher"]), str(value["project"]))
        version = Version(str(value["version"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrustError(
            f"the weights {repository} are signed but hold no {MANIFEST}", hint="ask their publisher to sign again"
        ) from error
    expected = (repository, str(trusted.statement["publisher"]), project)
    for what, found, wanted in zip(("repository", "publisher", "project"), named, expected, strict=True):
        if found.lower() != wanted.lower():
            raise TrustError(
                f"the weights {repository} were signed for the {what} {found}, not for {wanted}",
                hint="somebody copied them here: do not use them, and tell the operator",
            )
    if version > Version(str(trusted.statement["version"])):
        raise TrustError(
            f"the weights {repository} were signed for version {version}, which is newer than the wheel that pins them",
            hint="somebody brings back an old wheel: do not use it, and tell the operator",
        )

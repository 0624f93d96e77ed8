"""The chain of a project as its publisher sends it: all of it is verified before it is kept, as every client will."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import func, select

from cogen.errors import CogenError
from cogen.trust.metadata.project import (
    MOST_ROOTS,
    Chain,
    bytes_of,
    read_root,
    read_targets,
    verify,
)
from cogen_registry.admission.names import project_name
from cogen_registry.audit import log
from cogen_registry.auth import Principal, confirm
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Key, Project, Release, SignedFile
from cogen_registry.errors import Refused, not_found
from cogen_registry.metadata import documents, state
from cogen_registry.metadata.signer import revoked
from cogen_registry.service import Service


def roots_of(session: Session, project: str) -> list[bytes]:
    """Of the current chain, the first one first."""
    found: list[bytes] = []
    while (data := state.read_file(session, documents.root_path(project, len(found) + 1))) is not None:
        found.append(data)
    return found


def accept(
    service: Service, principal: Principal, name: str, roots: Sequence[object], targets: object
) -> tuple[Chain, bool]:
    """Keep new roots of a project (none, most of the time) and its new list of releases. (the chain, is it new?)

    :raises Refused: 403, 404; 409, somebody else was quicker; 422, it doesn't hold, or says something else of a
        release than this registry has.
    """
    if service.signer is None:
        raise Refused(409, "this registry has no signed metadata", hint="its operator runs `cogen-registry init`")
    project = project_name(name)
    with service.sessions.read() as session:
        before, old, gone = _current(session, principal, project)
    # Outside of the transaction: an identity's signature is verified with roots that may have to be fetched.
    try:
        sent = [bytes_of(read_root(json.dumps(one).encode(), project)) for one in roots]
        listed = bytes_of(read_targets(json.dumps(targets).encode(), project))
        if old == listed and not sent:
            return verify(project, before, listed, revoked=gone), False
        every = _joined(before, sent)
        seen = read_targets(old, project).signed.version + 1 if old and before else 0
        chain = verify(project, every, listed, revoked=gone, seen=seen)
    except CogenError as error:
        older = "is older" in error.message
        raise Refused(409 if older else 422, error.message, hint=error.hint or "publish again") from error
    except RecursionError:
        raise Refused(422, "the documents are nested too deeply", hint="send what `cogen publish` makes") from None
    files: dict[str, bytes | None] = {documents.targets_path(project): listed}
    for number, data in enumerate(every[len(before) :], len(before) + 1):
        files[documents.root_path(project, number)] = data
    with service.sessions.write() as session:
        confirm(session, principal)
        state.alone(session)
        if _current(session, principal, project) != (before, old, gone):
            raise Refused(409, f"the documents of {project} changed meanwhile", hint="run the command again")
        _check_keys(session, principal, chain, gone)
        _check_releases(session, project, chain)
        service.signer.change(session, [project], files=files)
        log.record(
            session,
            log.actor_of(principal),
            "project.keys" if sent else "project.list",
            project,
            root=chain.root.signed.version,
            targets=chain.targets.signed.version,
            keys=sorted(chain.keys),
        )
    service.changed()
    return chain, True


def _current(session: Session, principal: Principal, project: str) -> tuple[list[bytes], bytes | None, set[str]]:
    """(roots, list of releases, revoked keys), for who may change them.

    :raises Refused: 403, 404
    """
    owner = session.scalar(select(Project.publisher_id).where(Project.name == project))
    if owner is None:
        raise not_found(f"project {project}", "upload a release first")
    if owner != principal.id:
        raise Refused(403, f"{project} belongs to another publisher", hint="ask its publisher")
    principal.need("packages", project)
    return roots_of(session, project), state.read_file(session, documents.targets_path(project)), revoked(session)


def _joined(before: list[bytes], sent: list[bytes]) -> list[bytes]:
    """The roots that are here, and those that follow."""
    if not before or not sent:
        return before + sent
    versions = [json.loads(one)["signed"]["version"] for one in sent]
    following = [one for one, version in zip(sent, versions, strict=True) if version > len(before)]
    for one, version in zip(sent, versions, strict=True):
        if 0 < version <= len(before) and before[version - 1] != one:
            raise Refused(409, "the keys of this project changed meanwhile", hint="run the command again")
    if len(before) + len(following) > MOST_ROOTS:
        raise Refused(422, f"a project changes its keys at most {MOST_ROOTS} times", hint="ask the operator")
    return before + following


def _check_keys(session: Session, principal: Principal, chain: Chain, gone: set[str]) -> None:
    """The current keys are the publisher's own, as everybody sees them on its page."""
    own = set(session.scalars(select(Key.fingerprint).where(Key.publisher_id == principal.id, Key.revoked.is_(None))))
    for key in chain.keys:
        if key not in own or key in gone:
            raise Refused(
                422, f"the key {key} is not registered, or was revoked", hint="`cogen login` registers it; then again"
            )


def _check_releases(session: Session, project: str, chain: Chain) -> None:
    """No entry contradicts a release that is here, and none is about one that never was."""
    found = session.execute(
        select(Release.filename, Release.sha256, Release.size, Release.version, Release.state)
        .join(Project, Release.project_id == Project.id)
        .where(Project.name == project)
    ).all()
    here = {row.filename: row for row in found}
    for entry in chain.entries():
        row = here.get(entry.filename)
        if row is None:
            raise Refused(422, f"{entry.filename} was never uploaded", hint="upload the wheel first")
        if not row.sha256:  # purged by the operator: nothing is served, and the publisher's list may go on naming it
            continue
        if (row.sha256, row.size, row.version) != (entry.sha256, entry.size, entry.version):
            raise Refused(422, f"{entry.filename} is another file here", hint="sign the file as uploaded")


def recover(session: Session, project: str, reason: str) -> dict[str, bytes | None]:
    """What has to be signed so that a project whose keys are lost may begin a new chain.

    :raises Refused: 404, it has no chain.
    """
    from cogen.trust.metadata.project import read_root as root

    roots = roots_of(session, project)
    if not roots:
        raise not_found(f"project {project} with keys", "only a project that was signed can lose its keys")
    keys = sorted(f"sha256:{keyid}" for keyid in root(roots[-1], project).signed.roles["targets"].keyids)
    files: dict[str, bytes | None] = {documents.root_path(project, number): None for number in range(1, len(roots) + 1)}
    files[documents.targets_path(project)] = None
    files[documents.recovered_path(project)] = documents.recovered(session, project, reason, keys)
    return files


def chained(session: Session) -> int:
    """How many projects have keys of their own."""
    rows = select(func.count()).select_from(SignedFile).where(SignedFile.superseded.is_(None))
    return session.scalar(rows.where(SignedFile.path.like("projects/%/targets.json"))) or 0

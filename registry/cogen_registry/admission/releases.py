"""From an uploaded wheel to a release that everybody sees: all of it or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from cogen.remote.fields import line
from cogen.spec.expert import ExpertSpec
from cogen_registry.admission import attestations, current
from cogen_registry.admission.find_pins import PinNotFound, find_pin, read_budget
from cogen_registry.admission.names import claim_expert, claim_project, project_name
from cogen_registry.admission.openable import AT_ONCE, WAITING, check_openable
from cogen_registry.admission.pins import Pin, pins
from cogen_registry.admission.pool import pool_of
from cogen_registry.admission.quota import check_projects, check_total, limits_of
from cogen_registry.admission.wheel import Wheel, check_filename
from cogen_registry.audit import log, removals
from cogen_registry.auth import Principal, confirm
from cogen_registry.blobs.store import Staged
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Attestation, Domain, Expert, Language, Project, Release
from cogen_registry.errors import Refused, not_found
from cogen_registry.search.text import text_of
from cogen_registry.service import Service
from cogen_registry.versions import version_of

if TYPE_CHECKING:
    from cogen_registry.admission.wheel import Wheel

#: Characters of a wheel's file name.
_LONGEST_NAME = 300


def scratch(service: Service) -> Path:
    """Where wheels are unpacked; emptied at the start, because a killed process cleans up nothing."""
    return service.settings.root / "scratch"


def admit(service: Service, principal: Principal, staged: Staged, form: Mapping[str, str]) -> Release:
    """Check an uploaded wheel and make it a release, quarantined until its pinned weights are known.

    :param form: Fields of the upload: ``name``, ``version``, ``filetype``, ``filename`` and digests that were sent.
    :returns: The release; that of before if it is the very same file again.
    :raises Refused: nothing of it stays.
    """
    name, version = _identity(form)
    principal.need("packages", name)
    _check_digests(staged, form)
    limits = limits_of(service.settings.limits, principal.limits)
    if staged.size > limits.wheel:
        raise Refused(
            413,
            f"the wheel has {staged.size:,} bytes, at most {limits.wheel:,} are allowed",
            hint="upload large weights as a repository and pin them with hf://",
        )
    with service.sessions.read() as session:
        again = _known(session, principal, name, version, staged.sha256)
    if again is not None:
        if again.state == "quarantined":  # whoever looks for pinned weights looks again
            with service.sessions.write() as session:
                service.change(session, "quarantine", name)
            service.changed()
        return again
    place = scratch(service)
    place.mkdir(exist_ok=True)
    # As many at once as there are workers: each wheel may fill a gigabyte of scratch space.
    wheel = pool_of(service.settings.limits).wheel(staged.path(), form["filename"], limits, place)
    service.sessions.tally.flush(service.sessions, tokens_too=False)  # what was just installed counts for new names
    attested = attestations.checked(service, principal, form, staged.sha256, wheel.filename)
    pinned = [pin for spec in wheel.experts for pin in pins(spec)]
    check_described(service, pinned)
    reason = waiting_for(service, pinned)
    with service.blobs.stage() as metadata, _kept(service, staged, metadata) as keep:
        metadata.write(wheel.metadata)
        try:
            with service.sessions.write() as session:
                release = _add(service, session, principal, staged, wheel, metadata.sha256, reason, attested)
                keep()
                service.change(session, "quarantine" if reason else "project", name)
        except IntegrityError:  # two uploads at once, on a database where writers don't wait for each other
            raise Refused(409, f"{name} is being uploaded by somebody else", hint="try again") from None
    service.changed()
    return release


def _identity(form: Mapping[str, str]) -> tuple[str, Version]:
    """Project and version, which form and file name have to agree on."""
    if form.get("filetype") != "bdist_wheel":
        raise Refused(
            400, f"{form.get('filetype', 'this')} is not a wheel", hint="upload wheels only: `twine upload dist/*.whl`"
        )
    if len(form.get("filename", "")) > _LONGEST_NAME:  # all combinations of its tags are made
        raise Refused(400, f"the file's name has more than {_LONGEST_NAME} characters", hint="build the wheel again")
    name, version = check_filename(form.get("filename", ""))
    try:
        declared = project_name(form.get("name", "")), version_of(form.get("version", ""))
    except InvalidVersion:
        raise Refused(400, f"{form.get('version', '')[:100]!r} is not a version", hint="see PEP 440") from None
    if declared != (name, version):
        raise Refused(
            400,
            f"the form is of {declared[0]} {declared[1]}, the file of {name} {version}",
            hint="upload it as it was built",
        )
    return name, version


def _check_digests(staged: Staged, form: Mapping[str, str]) -> None:
    """Those that were sent. Upload tools send SHA-256 and BLAKE2; MD5 is an old one's only."""
    if (sent := form.get("sha256_digest")) and sent.lower() != staged.sha256:
        raise _damaged("SHA-256")
    others: dict[str, tuple[str, Any]] = {}
    if form.get("blake2_256_digest"):
        others["blake2_256_digest"] = "BLAKE2", hashlib.blake2b(digest_size=32)
    if form.get("md5_digest"):
        others["md5_digest"] = "MD5", hashlib.md5(usedforsecurity=False)
    for block in staged.read() if others else ():
        for _, digest in others.values():
            digest.update(block)
    for field, (what, digest) in others.items():
        if form[field].lower() != digest.hexdigest():
            raise _damaged(what)


def _damaged(what: str) -> Refused:
    return Refused(400, f"the file has not the {what} digest that was sent with it", hint="upload it again")


def _known(session: Session, principal: Principal, name: str, version: Version, sha256: str) -> Release | None:
    """The release of this version, if it is the publisher's own and the same file.

    :raises Refused: 409, it is another file; 410 or 451, it was taken down.
    """
    same = select(Release).join(Project).where(Project.name == name, Project.publisher_id == principal.id)
    release = session.scalar(same.where(Release.same == canonicalize_version(version)))
    if release is not None:
        removals.check_release(session, release, f"{name} {release.version}")
    if release is not None and release.sha256 != sha256:
        raise Refused(
            409, f"{name} {release.version} is there already, and a version never changes", hint="raise the version"
        )
    return release


def _add(
    service: Service,
    session: Session,
    principal: Principal,
    staged: Staged,
    wheel: Wheel,
    metadata: str,
    reason: str | None,
    attested: attestations.Attested | None,
) -> Release:
    confirm(session, principal)
    if session.scalar(select(Project.id).where(Project.name == wheel.project)) is None:
        check_projects(session, service.settings.limits, principal.id)
    project = claim_project(session, principal.id, wheel.project)
    if _known(session, principal, wheel.project, wheel.version, staged.sha256) is not None:
        raise Refused(409, f"{wheel.filename} is being uploaded twice at once", hint="it is available now")
    for spec in wheel.experts:
        claim_expert(session, project, spec.id)
    more = staged.size + len(wheel.metadata) + sum(_size(spec) for spec in wheel.experts)
    check_total(session, service.settings.limits, principal.id, more, 1 + len(wheel.experts))
    release = Release(
        project_id=project.id,
        version=str(wheel.version),
        same=canonicalize_version(wheel.version),
        state="quarantined" if reason else "released",
        reason=reason,
        filename=wheel.filename,
        sha256=staged.sha256,
        size=staged.size,
        metadata_sha256=metadata,
        metadata_size=more - staged.size,
        requires_python=wheel.requires_python,
        summary=wheel.summary,
        code=wheel.code,
        experts=[_expert(spec, principal.name) for spec in wheel.experts],
    )
    session.add(release)
    current.refresh(session, project.id)
    if attested is not None:
        made = Attestation(release_id=release.id, publisher=attested.publisher, attestations=attested.attestations)
        session.add(made)
    log.record(
        session,
        log.actor_of(principal),
        "release.upload",
        f"{project.name} {release.version}",
        sha256=staged.sha256,
        size=staged.size,
        filename=wheel.filename,
        state=release.state,
        experts=[spec.id for spec in wheel.experts],
    )
    return release


def _size(spec: ExpertSpec) -> int:
    """Bytes of a manifest in the database: as it is, and as search reads it."""
    return 2 * len(spec.model_dump_json())


def _expert(spec: ExpertSpec, publisher: str) -> Expert:
    model = spec.model
    return Expert(
        expert=spec.id,
        title=spec.title,
        summary=spec.summary,
        publisher=publisher,
        license=spec.license[:200],
        architecture=model.architecture[:100],
        relation=model.relation,
        parameters=model.parameters,
        base_name=model.base.name if model.base else None,
        lineage=model.lineage,
        spec=spec.model_dump(mode="json"),
        text=text_of(spec),
        domains=[Domain(name=one) for one in sorted({one.lower() for one in spec.domains})],
        languages=[Language(tag=one) for one in sorted({one.lower()[:40] for one in spec.languages})],
    )


@contextmanager
def _kept(service: Service, *files: Staged) -> Iterator[Any]:
    """Gives a function that makes blobs of the files; they are gone again if the transaction around it fails."""
    names: list[str] = []
    failed = False

    def keep() -> None:
        names.extend(file.keep() for file in files)

    try:
        yield keep
    except BaseException:
        failed = True
        raise
    finally:
        for name in names:  # all of them first: looking whether one is needed may fail where the transaction did
            service.blobs.release(name)
        for name in names if failed else ():
            service.discard(name)


def waiting_for(service: Service, pinned: list[Pin]) -> str | None:
    """Why a release stays in quarantine: the first of its pinned weights that is not known; ``None``: no reason."""
    with service.sessions.read() as session:
        budget = read_budget(service)
        for pin in dict.fromkeys(pinned):
            try:
                find_pin(service, session, pin, budget)
                check_openable(service, session, pin, AT_ONCE)
            except PinNotFound as missing:
                if WAITING in missing.reason:
                    return missing.reason
                later = service.settings.verify_elsewhere and not missing.final
                return missing.reason + (" and not verified elsewhere yet" if later else "")
    return None


def check_described(service: Service, pinned: list[Pin]) -> None:
    """Weights that lie here, and that can be read at once, are what the manifest says.

    :raises Refused: 400, they are something else: nobody could open them, and a version never changes.
    """
    with service.sessions.read() as session:
        budget = read_budget(service)
        for pin in dict.fromkeys(pinned):
            try:
                find_pin(service, session, pin, budget)
            except PinNotFound:
                continue  # it may still come
            try:
                check_openable(service, session, pin, AT_ONCE)
            except PinNotFound as wrong:
                if wrong.final:
                    raise Refused(
                        400, wrong.reason, hint="`cogen check NAME --fix` computes what the manifest has to say"
                    ) from None


def recheck(service: Service, release: int) -> bool:
    """Show a quarantined release if its weights are known by now; whether it is shown."""
    with service.sessions.read() as session:
        row = session.get(Release, release)
        if row is None or row.state != "quarantined":
            return row is not None
        reason = waiting_for(service, pins_of(row))
    settle(service, release, reason)
    return reason is None


def settle(service: Service, release: int, reason: str | None) -> None:
    """Write down why a release stays in quarantine, or release it."""
    with service.sessions.write() as session:
        row = session.get(Release, release)
        if row is None or row.state != "quarantined":
            return
        row.reason = reason
        if reason is None:
            row.state = "released"
            current.refresh(session, row.project_id)
            service.change(session, "project", row.project.name)
            log.record(session, log.SERVICE, "release.show", f"{row.project.name} {row.version}")
    if reason is None:
        service.changed()


def recheck_waiting(service: Service, repository_key: str) -> None:
    """After a commit: releases in quarantine that pin weights of this repository (``ns/name`` in lower case)."""
    with service.sessions.read() as session:
        rows = session.scalars(select(Release).where(Release.state == "quarantined")).all()
        waiting = [
            row.id for row in rows if any(pin.hub and pin.hub[0].lower() == repository_key for pin in pins_of(row))
        ]
    for release in waiting:
        if not recheck(service, release):
            _wake(service, release)


def _wake(service: Service, release: int) -> None:
    """Weights that are here by now and too large to read at once are for the verifier."""
    with service.sessions.write() as session:
        row = session.get(Release, release)
        if row is None or row.state != "quarantined" or WAITING not in (row.reason or ""):
            return
        service.change(session, "quarantine", row.project.name)
    service.changed()


def pins_of(release: Release) -> list[Pin]:
    """What all experts of a release pin outside of its wheel."""
    return [pin for row in release.experts for pin in pins(ExpertSpec.model_validate(row.spec))]


def visible(session: Session, name: str, version: str, viewer: Principal | None) -> Release:
    """A release that this viewer may see: a released one, or an own one in quarantine.

    :raises Refused: 404; 410 or 451, it was taken down
    """
    try:
        same = canonicalize_version(version_of(version))
        row = session.scalar(
            select(Release).join(Project).where(Project.name == project_name(name), Release.same == same)
        )
    except (InvalidVersion, Refused):
        row = None
    if row is not None:
        removals.check_release(session, row, f"{row.project.name} {row.version}")
    if row is None or (row.state != "released" and (viewer is None or row.project.publisher_id != viewer.id)):
        raise not_found(
            f"release {name} {version}"[:200],
            "/simple/PROJECT/ lists its releases; one in quarantine is shown to its publisher alone",
        )
    return row


def publisher_of(release: Release) -> str:
    """Who published it: its project may belong to somebody else by now, and its signature stays what it is."""
    return release.experts[0].publisher if release.experts else release.project.publisher.name


def own(session: Session, principal: Principal, name: str, version: str) -> Release:
    """A release that the publisher may change: its own, with a token for it.

    :raises Refused: 403, 404
    """
    row = visible(session, name, version, principal)
    if row.project.publisher_id != principal.id:
        raise Refused(403, f"{row.project.name} belongs to another publisher", hint="ask its publisher")
    principal.need("packages", row.project.name)
    return row


def yank(service: Service, principal: Principal, project: str, version: str, reason: str | None) -> Release:
    """Hide a release from resolvers (PEP 592), or with ``None`` show it again; its file stays where it is.

    :param reason: One line, may be empty.
    :raises Refused: 403, 404
    """
    with service.sessions.write() as session:
        confirm(session, principal)
        row = own(session, principal, project, version)
        row.yanked = line(reason) if reason is not None else None  # pip shows it as it is
        current.refresh(session, row.project_id)
        service.change(session, "project", row.project.name)
        log.record(
            session,
            log.actor_of(principal),
            "release.unyank" if reason is None else "release.yank",
            f"{row.project.name} {row.version}",
            reason=row.yanked,
        )
    service.changed()
    return row

"""What others measured, with the figures of single documents as evidence; kept apart from what publishers claim."""

from __future__ import annotations

import json
import math
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cogen.spec.expert import canonical_digest
from cogen_registry.admission.quota import check_total
from cogen_registry.audit import log, removals
from cogen_registry.auth import Principal, confirm
from cogen_registry.database.tables import Composite, Evaluation, Expert, Ingredient, Key, Project, Publisher, Release
from cogen_registry.errors import Refused, not_found
from cogen_registry.experts import models, shown_figures, tombstones
from cogen_registry.service import Service

#: A mean that was computed in another order, or written with fewer digits than a float has, still agrees.
TOLERANCE = 1e-6
#: Measurements by one publisher of one version.
MOST = 200


_OWNER = select(Project.publisher_id).where(Project.id == Release.project_id).scalar_subquery().label("owner")
#: Made once: to put a statement together takes as long as to run it.
_MEASURED = (
    select(Evaluation, Publisher.name.label("by"), Expert.expert, Release.version, _OWNER)
    .join(Publisher, Evaluation.publisher_id == Publisher.id)
    .join(Expert, Evaluation.expert_id == Expert.id)
    .join(Release, Expert.release_id == Release.id)
    .where(
        Evaluation.expert_id == bindparam("row"),
        Evaluation.model.is_(None),  # others are of private suites
        removals.shown("evaluation", Evaluation.id),
    )
    .order_by(Evaluation.id.desc())
)


def evaluations_of(session: Session, row: int, spec: dict[str, Any]) -> models.Evaluations:
    """Claims in the order of the manifest; measurements, the newest first."""
    claims = [
        models.Claimed(suite=suite["id"], title=suite["title"], metric=suite["metric"], **suite["claim"])
        for suite in spec["suites"]
        if suite.get("claim")
    ]
    private = shown_figures.figures_of_expert(session, row, spec)
    return models.Evaluations(claims=claims, measured=_measured(session, row, spec), private=private)


def _measured(session: Session, row: int, spec: dict[str, Any]) -> list[models.Measured]:
    return [
        models.Measured(
            id=one.Evaluation.id,
            expert=one.expert,
            version=one.version,
            suite=one.Evaluation.suite,
            metric=one.Evaluation.metric,
            split=one.Evaluation.split,
            value=one.Evaluation.value,
            low=one.Evaluation.low,
            high=one.Evaluation.high,
            documents=one.Evaluation.documents,
            harness=one.Evaluation.harness,
            promised=_suite(spec, one.Evaluation.suite)[one.Evaluation.split]["documents"],
            by=one.by,
            own=one.Evaluation.publisher_id == one.owner,
            created=one.Evaluation.created,
            evidence=one.Evaluation.evidence,
        )
        for one in session.execute(_MEASURED, {"row": row})
    ]


def _suite(spec: dict[str, Any], id: str) -> dict[str, Any]:
    """:raises Refused: 422, the manifest has no such suite."""
    found: dict[str, Any] | None = next((suite for suite in spec["suites"] if suite["id"] == id), None)
    if found is None:
        if any(suite["id"] == id for suite in spec.get("private_suites") or ()):
            raise Refused(
                422,
                f"suite {id!r} is private: its text is at its publisher's, and nobody else can measure it",
                hint="ask the publisher for figures, or measure a suite whose text is shipped",
            )
        known = ", ".join(suite["id"] for suite in spec["suites"]) or "no suite whose text is shipped"
        raise Refused(422, f"this expert has no suite {id!r}", hint=f"it has {known}")
    return found


def check(spec: dict[str, Any], new: models.NewEvaluation) -> None:
    """Is this a measurement of one of the expert's suites, and do its own figures give its value?

    :raises Refused: 422
    """
    suite = _suite(spec, new.suite)
    if new.metric != suite["metric"]:
        raise Refused(
            422, f"suite {new.suite!r} is not measured in {new.metric!r}", hint=f"its metric is {suite['metric']}"
        )
    promised = suite[new.split]["documents"]
    figures = new.evidence.per_document
    if new.documents != len(figures) or new.documents > promised:
        raise Refused(
            422,
            f"{new.documents} documents, evidence of {len(figures)}, and the {new.split} split has {promised}",
            hint="send one pair of figures for every document that was measured",
        )
    if any(top < 0 or (new.metric != "bits_per_byte" and (bottom != 1 or top > 1)) for top, bottom in figures):
        raise Refused(
            422,
            f"the evidence holds figures that {new.metric} can't have",
            hint="bits_per_byte: (bits, bytes); acc and exact_match: (0 to 1, 1)",
        )
    value = math.fsum(top for top, _ in figures) / math.fsum(bottom for _, bottom in figures)
    if not math.isclose(value, new.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        raise Refused(
            422, f"the evidence gives {value:.6g}, not {new.value:.6g}", hint="send the figures that the value is from"
        )
    low, high = new.low, new.high
    if (low is None) != (high is None) or (low is not None and high is not None and not low <= new.value <= high):
        raise Refused(422, "low, value and high are not in order", hint="send both ends of the interval or neither")


def add(service: Service, principal: Principal, row: int, new: models.NewEvaluation) -> tuple[models.Measured, bool]:
    """Keep a measurement of one row of ``experts``; the same again is the same. (what was kept, is it new?)

    :raises Refused: 422, 429
    """
    with service.sessions.read() as session:
        spec: dict[str, Any] = session.scalars(select(Expert.spec).where(Expert.id == row)).one()
    check(spec, new)
    what = {"schema": 1, "expert": spec["id"], "spec_digest": canonical_digest(spec)}
    measured = new.model_dump(exclude={"evidence", "split"}) | {"part": new.split}  # as schema 1 calls it
    document = what | measured | new.evidence.model_dump()
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    id, fresh = keep(service, principal, row, data, new.model_dump(exclude={"evidence"}))
    with service.sessions.read() as session:
        kept = next((one for one in _measured(session, row, spec) if one.id == id), None)
    if kept is None:  # taken down a moment ago
        raise removals.gone(None, "this measurement")
    return kept, fresh


def keep(service: Service, principal: Principal, row: int, data: bytes, values: dict[str, Any]) -> tuple[int, bool]:
    """Keep what was checked. (id, is it new?)

    :param data: the evidence; ``values``: columns of the row.
    :raises Refused: 410 or 451, the same was taken down; 429.
    """
    with service.blobs.stage() as staged:
        staged.write(data)
        evidence = staged.keep()
    try:
        try:
            id, fresh, unused = _insert(service, principal, row, values, evidence, len(data))
        except IntegrityError:  # where writers do not wait for each other: the same came in the same moment
            id, fresh, unused = _insert(service, principal, row, values, evidence, len(data))
    except BaseException:
        service.blobs.release(evidence)
        service.discard(evidence)
        raise
    service.blobs.release(evidence)
    if unused is not None:  # every signature over the same has other bytes
        service.discard(unused)
    if fresh or unused not in (None, evidence):
        service.changed()
    return id, fresh


def _insert(
    service: Service, principal: Principal, row: int, values: dict[str, Any], evidence: str, size: int
) -> tuple[int, bool, str | None]:
    """(id, is it new?, a blob that nothing may need now)"""
    mine = (Evaluation.expert_id == row, Evaluation.publisher_id == principal.id)
    with service.sessions.write() as session:
        confirm(session, principal)
        of = session.get_one(Expert, row)
        removals.check_release(session, of.release, f"{of.expert} {of.release.version}")
        signed = values.get("signed")
        tombstones.check_content(session, principal.id, signed, evidence, "this measurement")
        same = Evaluation.evidence == evidence if signed is None else Evaluation.signed == signed
        known = session.scalar(select(Evaluation).where(*mine, same))
        if known is not None:
            unused = _signed_again(service, session, principal, known, of, values.get("key"), evidence, size)
            return known.id, False, unused
        if (session.scalar(select(func.count()).where(*mine)) or 0) >= MOST:
            raise Refused(
                429,
                f"there are {MOST} measurements of this version by {principal.name} already",
                hint="publish a new version, or ask the registry's operator",
            )
        check_total(session, service.settings.limits, principal.id, size)
        made = Evaluation(
            id=_number(session),
            expert_id=row,
            publisher_id=principal.id,
            evidence=evidence,
            size=size,
            **values,
        )
        session.add(made)
        session.flush()
        service.change(session, "expert", of.expert)
        if digest := values.get("model"):
            _changed_composites(service, session, of.expert, digest)
        log.record(
            session,
            log.actor_of(principal),
            "evaluation.add",
            f"{of.expert} {of.release.version}",
            id=made.id,
            suite=values["suite"],
            value=values["value"],
            evidence=evidence,
        )
        return made.id, True, None


def _signed_again(
    service: Service,
    session: Session,
    principal: Principal,
    known: Evaluation,
    of: Expert,
    key: str | None,
    evidence: str,
    size: int,
) -> str | None:
    """The same figures once more. Where the key of before was revoked, the new signature takes its place.

    :returns: the evidence that is not needed.
    """
    if known.evidence == evidence:
        return None
    if key in (None, known.key) or not _revoked(session, known.key):
        return evidence
    before, known.evidence, known.size, known.key = known.evidence, evidence, size, key
    service.change(session, "expert", of.expert)
    if known.model is not None:
        _changed_composites(service, session, of.expert, known.model)
    log.record(
        session,
        log.actor_of(principal),
        "evaluation.sign",
        f"{of.expert} {of.release.version}",
        id=known.id,
        key=key,
        evidence=evidence,
    )
    return before


def _revoked(session: Session, key: str | None) -> bool:
    """Also one of a row of before keys were kept: nobody knows which."""
    if key is None:
        return True
    return session.scalar(select(Key.id).where(Key.fingerprint == key, Key.revoked.is_(None))) is None


def _changed_composites(service: Service, session: Session, expert: str, digest: str) -> None:
    """Pages of composites with these weights, which this expert is part of, show the figures."""
    found = session.execute(
        select(Composite.name, Publisher.name.label("publisher"), Composite.lock)
        .join(Publisher, Composite.publisher_id == Publisher.id)
        .join(Ingredient, Ingredient.composite_id == Composite.id)
        .where(Ingredient.expert == expert)
    )
    for one in found:
        if one.lock.get("weights_digest") == digest:
            service.change(session, "composite", f"{one.publisher}/{one.name}")


def _number(session: Session) -> int | None:
    """SQLite would give the number of the last row again when that was deleted; PostgreSQL never does."""
    if session.get_bind().dialect.name != "sqlite":
        return None
    return max(session.scalar(select(func.max(Evaluation.id))) or 0, tombstones.last(session, "evaluation")) + 1


def remove(service: Service, principal: Principal, id: int) -> None:
    """Delete a measurement of one's own with its evidence, unless something else holds the same bytes.

    :raises Refused: 403, somebody else's; 404, there is none; 410 or 451, it was deleted or taken down.
    """
    with service.sessions.write() as session:
        confirm(session, principal)
        row = session.get(Evaluation, id)
        _check_gone(session, id)
        if row is None:
            raise not_found(f"evaluation {id}", "the evaluations of an expert have their ids")
        if row.publisher_id != principal.id:
            raise Refused(403, f"evaluation {id} belongs to another publisher", hint="ask who measured")
        of, evidence = session.get_one(Expert, row.expert_id), row.evidence
        removals.check_release(session, of.release, f"{of.expert} {of.release.version}")
        service.change(session, "expert", of.expert)
        session.delete(row)
        tombstones.add(session, "evaluation", str(id), id)
        log.record(
            session,
            log.actor_of(principal),
            "evaluation.delete",
            f"{of.expert} {of.release.version}",
            id=id,
            evidence=evidence,
        )
    service.discard(evidence)
    service.changed()


def _check_gone(session: Session, id: int) -> None:
    removals.check(session, "evaluation", id, f"evaluation {id}")
    tombstones.check(session, "evaluation", str(id), f"evaluation {id}")


def evidence_of(service: Service, id: int) -> str:
    """Hex SHA-256 of the evidence of one measurement.

    :raises Refused: 404
    """
    with service.sessions.read() as session:
        found: str | None = session.scalar(
            select(Evaluation.evidence)
            .join(Expert, Evaluation.expert_id == Expert.id)
            .join(Release, Expert.release_id == Release.id)
            .where(Evaluation.id == id, Release.state == "released", removals.shown("evaluation", Evaluation.id))
        )
        if found is None:
            _check_gone(session, id)
    if found is None:
        raise not_found(f"evaluation {id}", "the evaluations of an expert have their ids")
    return found

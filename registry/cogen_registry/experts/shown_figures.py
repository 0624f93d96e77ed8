"""Figures of private suites as a reader gets them: those of the manifest, and those that publishers signed and sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from cogen_registry.audit import removals
from cogen_registry.database.tables import Evaluation, Expert, Ingredient, Key, Publisher, Release
from cogen_registry.experts import models


def figures_of_expert(session: Session, row: int, spec: dict[str, Any]) -> list[models.PublisherFigure]:
    """What the manifest says of base and expert, then what was sent, the newest first."""
    found = []
    for suite in spec.get("private_suites", ()):
        shared = {name: suite[name] for name in ("metric", "documents", "bytes", "text_digest", "date", "harness")}
        for name in ("base", "expert"):
            if figure := suite.get(name):
                split = suite.get("split", "test")
                found.append(
                    models.PublisherFigure(
                        suite=suite["id"],
                        title=suite["title"],
                        split=split,
                        name=name,
                        source="manifest",
                        expert=spec["id"],
                        **shared,
                        **figure,
                    )
                )
    return found + sent(session, Evaluation.expert_id == row)


def figures_of_model(session: Session, digest: str, composite: int) -> list[models.PublisherFigure]:
    """What publishers of its experts sent of the composite with these weights, the newest first; nobody else's.

    :param composite: its row.
    """
    own = select(Ingredient.expert).where(Ingredient.composite_id == composite)
    return sent(session, and_(Evaluation.model == digest, Expert.expert.in_(own)))


def sent(session: Session, which: Any) -> list[models.PublisherFigure]:
    """Signed figures of releases that everybody can see, the newest first. Those that were sent for several versions
    are shown with the newest of them. What a key signed that was revoked later stays, after the others, and says so.
    """
    rows = session.execute(
        select(Evaluation, Publisher.name.label("by"), Expert.spec, Release.version, Key.revoked)
        .join(Publisher, Evaluation.publisher_id == Publisher.id)
        .join(Expert, Evaluation.expert_id == Expert.id)
        .join(Release, Expert.release_id == Release.id)
        .outerjoin(Key, Evaluation.key == Key.fingerprint)
        .where(
            which,
            Release.state == "released",
            Evaluation.model.is_not(None),
            removals.shown("evaluation", Evaluation.id),
        )
        .order_by(Evaluation.id.desc())
    )
    found, seen = [], set()
    for one in rows:
        row = one.Evaluation
        same = (row.publisher_id, row.signed or row.id)
        if same in seen:
            continue
        seen.add(same)
        suite = next((s for s in one.spec.get("private_suites", ()) if s["id"] == row.suite), None)
        if suite is None or row.low is None or row.high is None:
            continue
        found.append(
            models.PublisherFigure(
                id=row.id,
                expert=one.spec["id"],
                version=one.version,
                suite=row.suite,
                title=suite["title"],
                metric=row.metric,
                split=row.split,
                name="model",
                model=row.model,
                value=row.value,
                low=row.low,
                high=row.high,
                documents=row.documents,
                bytes=suite["bytes"],
                text_digest=suite["text_digest"],
                date=row.measured or row.created.date().isoformat(),
                harness=row.harness,
                by=one.by,
                source="signed",
                evidence=row.evidence,
                key=row.key,
                key_revoked=one.revoked,
            )
        )
    # By the day of the measurement: old figures that are sent again later do not become the newest.
    return sorted(found, key=lambda one: (one.key_revoked is None, one.date), reverse=True)

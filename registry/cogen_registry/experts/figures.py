"""Figures of private suites: measured by their publisher, signed, kept apart from what others can measure again.

The text stays with the publisher, so no evidence of single documents can be asked for. What can be checked is checked:
the signature, by a key of the publisher's; the suite, by the salted digest of its text; sizes and metric.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen.errors import CogenError
from cogen.evals.figures import Figures, FiguresDocument, FiguresSignature
from cogen.trust.errors import TrustError
from cogen.trust.keys import fingerprint, plain
from cogen.trust.signing import plain_bundle
from cogen_registry.audit import removals
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Evaluation, Expert, Key, Project, Release
from cogen_registry.errors import Refused
from cogen_registry.experts import models
from cogen_registry.experts.evaluations import keep
from cogen_registry.experts.shown_figures import sent
from cogen_registry.service import Service

_HINT = "send what `cogen eval MODEL --suite private.yaml --json --sign` prints"


def read(value: dict[str, Any]) -> FiguresDocument:
    """:raises Refused: 422, these are no figures."""
    try:
        return FiguresDocument.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        message = f"these are no figures of a private suite: {place}: {first['msg'].removeprefix('Value error, ')}"
        raise Refused(422, message, hint=_HINT) from error


def add(service: Service, principal: Principal, value: dict[str, Any]) -> tuple[models.PublisherFigure, bool]:
    """Keep signed figures of one of the publisher's own private suites; the same again is the same.

    :returns: (what was kept, is it new?)
    :raises Refused: 403, the signature is by no key of the publisher; 410 or 451, the same was taken down; 422, the
        figures fit no suite of theirs; 429.
    """
    document = _plain(read(value), principal.name)
    try:
        document.figures.check_day(datetime.datetime.now(datetime.UTC).date())
    except CogenError as error:
        raise Refused(422, error.message, hint=error.hint or _HINT) from error
    with service.sessions.read() as session:
        key = _check_signature(session, principal, document)
        row = _expert(session, principal, document)
    figures = document.figures
    data = json.dumps(
        document.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
    id, fresh = keep(
        service,
        principal,
        row,
        data,
        {
            "suite": figures.suite,
            "metric": figures.metric,
            "split": figures.split,
            "value": figures.model.value,
            "low": figures.model.low,
            "high": figures.model.high,
            "documents": figures.documents,
            "harness": figures.harness,
            "model": figures.model.digest,
            "measured": figures.date,
            "signed": _digest(figures),
            "key": key,
        },
    )
    with service.sessions.read() as session:
        kept = next(iter(sent(session, Evaluation.id == id)), None)
    if kept is None:  # taken down a moment ago
        raise removals.gone(None, "this measurement")
    return kept, fresh


def _plain(document: FiguresDocument, publisher: str) -> FiguresDocument:
    """What a signature does not cover is not kept as it came, since anybody could have written it: the name of the
    publisher is who sends it, and key and bundle hold nothing but what a check of the signature reads."""
    signature = document.signature
    if signature is None:
        return document
    try:
        key, bundle = plain(signature.key), plain_bundle(signature.bundle)
    except TrustError as error:
        raise Refused(422, error.message, hint=error.hint or _HINT) from error
    return document.model_copy(update={"signature": FiguresSignature(publisher=publisher, key=key, bundle=bundle)})


def _digest(figures: Figures) -> str:
    """Of what is signed, which is the same however often it is signed."""
    text = json.dumps(figures.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _check_signature(session: Session, principal: Principal, document: FiguresDocument) -> str:
    """The fingerprint of the publisher's key that signed. Whose key it is comes first: to check a signature takes
    longer.

    :raises Refused: 403, 422
    """
    if document.signature is None:
        raise Refused(422, "these figures are not signed", hint=_HINT)
    key = fingerprint(document.signature.key)
    known = session.scalar(
        select(Key.id).where(Key.publisher_id == principal.id, Key.fingerprint == key, Key.revoked.is_(None))
    )
    if known is None:
        raise Refused(
            403,
            f"these figures are signed with {key}, which is no valid key of {principal.name}",
            hint="sign with the key that `cogen key list` shows as yours",
        )
    try:
        document.check()
    except CogenError as error:
        raise Refused(422, error.message, hint=error.hint or _HINT) from error
    return key


#: What figures and manifest must say alike of a suite.
_AGREE = ("metric", "split", "documents", "bytes")


def _expert(session: Session, principal: Principal, document: FiguresDocument) -> int:
    """The newest released expert of the publisher with this private suite, in a release that it published itself: who
    took over a project has its releases, and not their publisher's text.

    :raises Refused: 422
    """
    figures = document.figures
    rows = session.execute(
        select(Expert.id, Expert.spec)
        .join(Release, Expert.release_id == Release.id)
        .join(Project, Release.project_id == Project.id)
        .where(
            Project.publisher_id == principal.id,
            Expert.publisher == principal.name,
            Release.state == "released",
        )
        .order_by(Expert.id.desc())
    )
    differs: Refused | None = None
    for row in rows:
        # Several suites may be of one text, such as one for each metric.
        for suite in row.spec.get("private_suites", ()):
            if suite["text_digest"] != figures.text_digest:
                continue
            other = next((n for n in _AGREE if suite.get(n, "test") != getattr(figures, n)), None)
            if other is None and suite["id"] == figures.suite:
                return int(row.id)
            if other is not None and (differs is None or suite["id"] == figures.suite):
                differs = Refused(
                    422,
                    f"`{other}` of the figures is {getattr(figures, other)}, the manifest of {row.spec['id']} says "
                    f"{suite.get(other)}",
                    hint="measure again with `cogen eval`",
                )
    raise differs or Refused(
        422,
        f"no released expert of {principal.name} has a private suite {figures.suite!r} of this text",
        hint="publish the expert first; its manifest names the digest of the suite's text",
    )

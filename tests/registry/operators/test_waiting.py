"""Who was let in and then waited: a take-down or a revoked token that came meanwhile counts, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support import shelf, stock

from cogen_registry.admission import releases
from cogen_registry.audit import log
from cogen_registry.auth import Principal, principal_of
from cogen_registry.database.tables import (
    AuditEntry,
    Composite,
    Evaluation,
    Expert,
    Key,
    Release,
    Repository,
    Token,
    now,
)
from cogen_registry.errors import Refused
from cogen_registry.experts import composites, evaluations, keys, models
from cogen_registry.operators.takedown import Subject, take_down
from cogen_registry.service import Service
from cogen_registry.weights import repositories

WHO = log.Actor(operator="tests")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    opened = shelf.open_service(tmp_path / "root")
    shelf.put(opened, "power", team="team")
    shelf.put(opened, "heat", team="other")
    yield opened
    opened.close()


@pytest.fixture
def waiting(service: Service) -> Principal:
    """A publisher who was let in a moment ago."""
    secret = shelf.token(service, "team")["Authorization"].removeprefix("Bearer ")
    found = principal_of(service.sessions, secret)
    assert found is not None
    return found


def evaluation() -> models.NewEvaluation:
    return models.NewEvaluation(
        suite="heldout",
        metric="bits_per_byte",
        split="test",
        value=1.0,
        documents=30,
        harness="lm_eval 0.4.9",
        low=None,
        high=None,
        evidence=models.Evidence(per_document=[(100.0, 100.0)] * 30),
    )


def row_of(service: Service, id: str) -> int:
    with service.sessions.read() as session:
        return session.scalars(select(Expert.id).where(Expert.expert == id)).one()


def key(principal: Principal, folder: Path) -> models.NewKey:
    from cogen.trust import new_key, proven

    new_key(folder / "key.pem")
    pem, proof = proven(folder / "key.pem", principal.name, None)
    return models.NewKey(pem=pem, proof=proof)


def composite(service: Service) -> models.NewComposite:
    return models.NewComposite(name="blend", title="Blend", card="", lock=stock.lock(service, "power"))


#: What a publisher may do after waiting.
DO: dict[str, Callable[[Service, Principal, Path], Any]] = {
    "measure": lambda service, who, _: evaluations.add(service, who, row_of(service, "heat"), evaluation()),
    "compose": lambda service, who, _: composites.add(service, who, composite(service)),
    "make a repository": lambda service, who, _: repositories.create(service, who, "model"),
    "add a key": lambda service, who, folder: keys.add(service, who, key(who, folder)),
    "yank": lambda service, who, _: releases.yank(service, who, "cogen-plugin-power", "1.0", "old"),
}


def counted(service: Service) -> list[Any]:
    with service.sessions.read() as session:
        tables = (Evaluation, Composite, Repository, Key, Release, AuditEntry)
        found: list[Any] = [session.scalar(select(func.count()).select_from(table)) for table in tables]
        return [*found, session.scalars(select(Release.yanked)).all()]


@pytest.mark.parametrize("what", DO)
@pytest.mark.parametrize("why", ["taken down", "revoked"])
def test_what_came_meanwhile_counts(service: Service, waiting: Principal, tmp_path: Path, what: str, why: str) -> None:
    new = composite(service)
    with service.sessions.write() as session:
        if why == "taken down":
            take_down(session, WHO, Subject.of("publisher", "team"), "fraud, they say")
        else:
            token = session.get_one(Token, waiting.token)
            token.revoked = now()
    service.changed()
    before, blobs = counted(service), sorted(service.blobs.names())
    do = DO[what] if what != "compose" else lambda *_: composites.add(service, waiting, new)
    with pytest.raises(Refused) as refused:
        do(service, waiting, tmp_path)
    assert refused.value.status in ((401,) if why == "revoked" else (403, 410))
    assert counted(service) == before
    assert sorted(service.blobs.names()) == blobs


@pytest.mark.parametrize("what", DO)
def test_who_is_still_welcome(service: Service, waiting: Principal, tmp_path: Path, what: str) -> None:
    before = counted(service)
    DO[what](service, waiting, tmp_path)
    assert counted(service) != before


def test_a_release_that_was_taken_down_while_its_measurement_was_checked(service: Service, waiting: Principal) -> None:
    row = row_of(service, "heat")
    with service.sessions.write() as session:
        take_down(session, WHO, Subject.of("release", "cogen-plugin-heat"), "it is wrong")
    with pytest.raises(Refused) as refused:
        evaluations.add(service, waiting, row, evaluation())
    assert refused.value.status == 410
    with service.sessions.read() as session:
        assert session.scalar(select(func.count()).select_from(Evaluation)) == 0


def test_the_reason_of_a_yank_is_one_printable_line(service: Service, waiting: Principal) -> None:
    """pip and uv show it to whoever installs, as it is."""
    releases.yank(service, waiting, "cogen-plugin-power", "1.0", "old\x1b]0;owned\x07\r\n\u202enew")
    with service.sessions.read() as session:
        (output,) = session.scalars(select(Release.yanked).where(Release.yanked.is_not(None)))
    assert output == "old ]0;owned new"


def test_a_purged_composite_takes_no_room(service: Service, waiting: Principal) -> None:
    from cogen_registry.admission.quota import usage

    composites.add(service, waiting, composite(service))
    with service.sessions.write() as session:
        assert usage(session, waiting.id)["composites"] > 0
        take_down(session, WHO, Subject.of("composite", "team/blend"), "it is wrong", purge=True)
    with service.sessions.read() as session:
        assert usage(session, waiting.id)["composites"] == 0

"""A measurement under a legal hold goes with no purge of what it measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from support.shelf import open_service, put

from cogen_registry.audit import log
from cogen_registry.database.tables import Doomed, Evaluation, Publisher
from cogen_registry.errors import Refused
from cogen_registry.operators.takedown import Subject, release_hold, take_down
from cogen_registry.service import Service

WHO = log.Actor(operator="clerk")


def measured(service: Service, row: int) -> int:
    with service.sessions.write() as session:
        publisher = session.scalars(select(Publisher.id)).first()
        made = Evaluation(
            expert_id=row,
            publisher_id=publisher,
            suite="heldout",
            metric="bits_per_byte",
            split="test",
            value=1.0,
            documents=1,
            harness="ours",
            evidence="ab" * 32,
        )
        session.add(made)
        session.flush()
        return made.id


def test_a_held_measurement_stops_the_purge_of_its_release(tmp_path: Path) -> None:
    service = open_service(tmp_path / "root")
    try:
        number = measured(service, put(service, "power"))
        evaluation, release = Subject.of("evaluation", str(number)), Subject.of("release", "cogen-plugin-power==1.0")
        with service.sessions.write() as session:
            take_down(session, WHO, evaluation, "evidence of a case", hold=True)
        with pytest.raises(Refused, match="under a legal hold by clerk"), service.sessions.write() as session:
            take_down(session, WHO, release, "to be purged", purge=True)
        with service.sessions.read() as session:
            assert session.get(Evaluation, number) is not None
            assert session.scalars(select(Doomed)).all() == []
        with service.sessions.write() as session:
            release_hold(session, WHO, evaluation, "the case was closed")
        with service.sessions.write() as session:
            take_down(session, WHO, release, "to be purged", purge=True)
        with service.sessions.read() as session:
            assert session.get(Evaluation, number) is None
            assert "ab" * 32 in session.scalars(select(Doomed.sha256)).all()
    finally:
        service.close()

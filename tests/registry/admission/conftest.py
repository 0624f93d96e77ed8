"""A service without a web server, and publishers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.shelf import open_service, token

from cogen_registry.admission.releases import admit
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Publisher, Release
from cogen_registry.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    opened = open_service(tmp_path / "root", verify_elsewhere=False)
    yield opened
    opened.close()


@pytest.fixture
def publisher(service: Service) -> Callable[..., Principal]:
    def made(name: str = "team", *scopes: str, **limits: Any) -> Principal:
        token(service, name)
        with service.sessions.write() as session:
            row = session.scalar(select(Publisher).where(Publisher.name == name))
            assert row is not None
            row.limits = limits
        return Principal(row.id, name, frozenset(scopes or ("packages",)), limits)

    return made


@pytest.fixture
def upload(service: Service) -> Callable[..., Release]:
    """Upload a wheel file as a publisher; ``form`` changes fields of the form."""

    def uploaded(principal: Principal, path: Path, **form: str) -> Release:
        name, version = path.name.split("-")[:2]
        fields = {"name": name, "version": version, "filetype": "bdist_wheel", "filename": path.name} | form
        with service.blobs.stage() as staged:
            staged.write(path.read_bytes())
            return admit(service, principal, staged, fields)

    return uploaded

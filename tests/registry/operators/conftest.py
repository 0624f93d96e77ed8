"""A registry in a process of its own, and what publishers and readers do with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.desk import Desk
from support.served import serving


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with serving(tmp_path_factory.mktemp("operators") / "root") as served:
        yield Desk(served, tmp_path_factory.mktemp("wheels"))
        served.healthy()


@pytest.fixture
def own_desk(tmp_path: Path) -> Iterator[Desk]:
    """A registry of this test alone: for what is counted, and for lists that nobody else writes."""
    with serving(tmp_path / "root") as served:
        yield Desk(served, tmp_path)
        served.healthy()


@pytest.fixture
def ids(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Names of this test alone."""
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    letters = "".join(chr(ord("a") + int(digit, 16)) for digit in digest)
    return lambda name: f"{name}-{letters}"

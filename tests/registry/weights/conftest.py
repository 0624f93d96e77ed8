"""One registry over a real socket for all of this room; every test has repositories of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.hub import Registry, running


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(tmp_path_factory.mktemp("registry") / "root") as opened:
        yield opened

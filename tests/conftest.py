"""What all tests share: the helpers in ``tests/support`` can be imported as ``support.…``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest's import mode "importlib" leaves sys.path alone
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_plugin_stays_imported() -> Iterator[None]:
    """A plugin that a test made and imported would stand for the installed one of its name in every later test."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("cogen_plugin_"):
            del sys.modules[name]

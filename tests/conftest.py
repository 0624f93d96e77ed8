"""What all tests share: the helpers in ``tests/support`` can be imported as ``support.…``."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest's import mode "importlib" leaves sys.path alone
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def no_fsync() -> Iterator[None]:
    """What it protects from, a loss of power, no test can bring about, and disks take long for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def no_plugin_stays_imported() -> Iterator[None]:
    """A plugin that a test made and imported would stand for the installed one of its name in every later test."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("cogen_plugin_"):
            del sys.modules[name]


_modules_at_freeze = 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Keep what imports left behind out of every later garbage collection.

    torch and transformers leave a million objects that live until the end. Collecting them again takes half a second,
    and every training and every teacher that is released collects.
    """
    global _modules_at_freeze
    if len(sys.modules) > _modules_at_freeze + 100:
        gc.collect()
        gc.freeze()
        _modules_at_freeze = len(sys.modules)

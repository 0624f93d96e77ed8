"""Every hook is documented where plugin authors read it, and is used by a test."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from cogen.host import hookspecs

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("cogen_"))
TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented(name: str) -> None:
    """A sentence that says what it is for, and types for what goes in and comes out."""
    hook = getattr(hookspecs, name)
    assert len(inspect.getdoc(hook) or "") > 40
    signature = inspect.signature(hook)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_tested(name: str) -> None:
    """Some test of the host or the command line implements or calls it."""
    texts = [path.read_text() for folder in ("host", "cli") for path in (TESTS / folder).glob("test_*.py")]
    assert any(name in text for text in texts)

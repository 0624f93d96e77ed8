"""What the distribution cogen-core contains, and what documents say about its extras."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from support.documents import DOCUMENTS, ROOT, text_of

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_wheel_contains_host_and_registry_alone() -> None:
    """Tests, benchmarks and examples would become top-level packages of everybody's environment."""
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["core/cogen", "registry/cogen_registry"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_extras_that_documents_name_exist(document: str) -> None:
    """pip only warns about an extra that does not exist, and installs nothing for it."""
    named = re.findall(r"(?:cogen-core|\"\.|'\.)\[([\w,-]+)\]", text_of(document))
    extras = {extra for group in named for extra in group.split(",")}
    assert extras - set(PYPROJECT["project"]["optional-dependencies"]) == set()

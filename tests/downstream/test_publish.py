"""A third party's way: `cogen new`, real pip, `cogen check`, `cogen list`, in an environment of its own.

torch is not installed again for it: the new environment sees the packages of the one that runs the tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from downstream.environment import Environment

pytestmark = [pytest.mark.slow, pytest.mark.network]


def test_scaffold_installs_and_passes_check(tmp_path: Path) -> None:
    """From nothing to an expert that the host lists and that passes the checks with its weights."""
    environment = Environment(tmp_path / "env")
    made = environment.cogen("new", "my-law", "--license", "Apache-2.0", "--publisher", "Me", cwd=tmp_path)
    assert made["folder"] == "cogen-plugin-my-law"
    environment.run("pip", "install", "--quiet", "--no-deps", "./cogen-plugin-my-law", cwd=tmp_path)
    experts = {row["expert"]: row for row in environment.cogen("list", cwd=tmp_path)["experts"]}
    assert experts["my-law"]["state"] == "ok"
    assert experts["my-law"]["distribution"] == "cogen-plugin-my-law"
    report = environment.cogen("check", "my-law", "--level", "smoke", cwd=tmp_path)
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"] if not check["ok"]] == []
    own_tests = environment.run("pytest", "-q", "-p", "no:cacheprovider", "cogen-plugin-my-law/tests", cwd=tmp_path)
    assert "1 passed" in own_tests

"""`cogen train` killed between its outputs: the package is the old one or the new one, never weights under another's
manifest, and the next run ends what was begun."""

from __future__ import annotations

import os
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cogen
from cogen.checkpoints.digests import file_digest
from cogen.files import cache_dir

#: Function that is called at the point → whether the kill comes before or after the call.
POINTS = {
    "measured": ("cogen.forge.package._spec", "after"),
    "manifest written": ("cogen.forge.package._replace", "before"),
    "other files copied": ("cogen.forge.package.shutil.copytree", "after"),
    "before the swap": ("cogen.files._take_name", "before"),
    "swapped": ("cogen.files._exchange", "after"),
    "old one half deleted": ("cogen.files._remove", "before"),
    "swap done": ("cogen.forge.package._replace", "after"),
    "license filled in": ("cogen.scaffold.project.fill_in", "before"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(real: Callable[..., Any], when: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if when == "before":
            die()
        found = real(*args, **options)
        die()
        return found

    return call


def killed_at(point: str, recipe: Path) -> None:
    """Train in a process that is killed at a point."""
    target, when = POINTS[point]
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            module, _, name = target.rpartition(".")
            from importlib import import_module

            owner = import_module(module.removesuffix(".shutil"))
            owner = owner.shutil if module.endswith(".shutil") else owner
            patch.setattr(owner, name, dying(getattr(owner, name), when))
            try:
                cogen.train(recipe)
            finally:
                os._exit(7)  # the point was not reached, or not survived as it should be
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), os.WEXITSTATUS(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def consistent(package: Path) -> str:
    """Weights, suite and manifest of one training; the weights' digest."""
    manifest = tomllib.loads((package / "expert.toml").read_text(encoding="utf-8"))
    found: str = file_digest(package / "weights")
    assert manifest["model"]["file_digest"] == found
    for suite in manifest["suites"]:
        for split in ("dev", "test"):
            assert file_digest(package / suite[split]["path"]) == suite[split]["digest"]
    return found


def test_killed_at_every_point(recipe: Any) -> None:
    path = recipe()
    package = path.parent / cogen.train(path).folder.relative_to(path.parent)
    (package / "notes.md").write_text("mine")
    before = consistent(package)
    texts = path.read_text(encoding="utf-8")
    for number, point in enumerate(POINTS):
        path.write_text(texts.replace("seed = 3", f"seed = {100 + number}"), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != texts
        killed_at(point, path)
        found = consistent(package)
        assert (found == before) == (list(POINTS).index(point) < list(POINTS).index("swapped")), point
        assert (package / "notes.md").read_text() == "mine"
        assert (package / "__init__.py").is_file()
        cogen.train(path)
        before = consistent(package)
        assert [left.name for left in package.parent.iterdir() if left.name.endswith((".part", ".old"))] == []
    assert [left.name for left in cache_dir().rglob(".publish*")] == []

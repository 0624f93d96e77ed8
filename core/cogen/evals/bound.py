"""A suite together with the folder that holds its files, and the suites that ship with CoGen."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.errors import EvalError, UnsafeError
from cogen.evals.settings import Split
from cogen.spec.suite import DataFile, Suite

if TYPE_CHECKING:
    from cogen.host import Expert, Host

#: Owner of the suites that ship with CoGen and show forgetting.
GENERAL = "general"


@dataclass(frozen=True)
class BoundSuite:
    """``owner`` is the id of an expert, or ``general``; all paths of ``suite`` are relative to ``root``."""

    owner: str
    suite: Suite
    root: Path

    @property
    def name(self) -> str:
        """``owner/id``: unique among the installed suites."""
        return f"{self.owner}/{self.suite.id}"

    def data(self, split: Split) -> DataFile:
        """The data of one split. Every reader says which one it wants: there is no call that reads both."""
        if split not in ("dev", "test"):
            raise EvalError(f"unknown split {split!r}", hint="use dev or test")
        return self.suite.dev if split == "dev" else self.suite.test

    def path(self, relative: str) -> Path:
        """A file of the suite; a symbolic link that leads out of ``root`` is refused."""
        path = self.root / relative
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UnsafeError(f"{self.name}: {relative} leads out of the plugin", hint="ship the file, not a link")
        if not path.is_file():
            raise EvalError(f"{self.name}: {relative} is missing", hint="reinstall the plugin, or tell its publisher")
        return path


def suites_of(expert: Expert) -> list[BoundSuite]:
    """The suites that an installed expert declares, in its order."""
    return [BoundSuite(expert.id, suite, expert.root) for suite in expert.spec.suites]


def hook_suites(host: Host, expert: Expert) -> list[BoundSuite]:
    """The suites that plugins' code adds to an expert, with the hook ``cogen_eval_suites``.

    This runs the plugins' code: ask the user first. Paths start at the package of the plugin that has the hook.
    """
    answers = host.hooks.collect_of("cogen_eval_suites", Suite, spec=expert.spec)
    return [BoundSuite(expert.id, suite, plugin.root or expert.root) for plugin, suites in answers for suite in suites]


def general_suites() -> list[BoundSuite]:
    """The built-in suites of general text, which show what a model forgot; the same form as a plugin's."""
    return list(_general(Path(__file__).parent / "general"))


def calibration_texts() -> list[str]:
    """A fixed general text of 64 KB, from the sources of the general suite and sharing no eight words with it.

    What routers take for "no domain": nobody is measured on it.
    """
    path = Path(__file__).parent / "general" / "calibration.jsonl"
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def _general(root: Path) -> tuple[BoundSuite, ...]:
    manifest = root / "general.toml"
    if not manifest.is_file():
        return ()
    entries = tomllib.loads(manifest.read_text(encoding="utf-8"))["suites"]
    return tuple(BoundSuite(GENERAL, Suite.model_validate(entry), root) for entry in entries)

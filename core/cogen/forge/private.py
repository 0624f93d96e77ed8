"""Held-out text that stays with its publisher: measured where it lies, and figures alone go into the manifest."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.errors import TrainError
from cogen.evals.private import PrivateTask, write_private
from cogen.forge.private_folder import PRIVATE, STATEMENTS, keep
from cogen.forge.statements import stage_private_statements
from cogen.reporter import SILENT, Reporter
from cogen.spec.suite import PrivateFigure, PrivateSuite

if TYPE_CHECKING:
    from cogen.evals import SuiteResult
    from cogen.forge.build import PreparedTraining
    from cogen.forge.corpus import CorpusParts

_SALT = "salt"


def note_size(corpus: CorpusParts, wanted: int, reporter: Reporter) -> None:
    """Say before training that a private suite is small.

    :param wanted: test documents that the recipe asks for.
    """
    held = corpus.private
    if held is not None and held.figures and len(held.test) < wanted:
        reporter.note(f"private suite: {len(held.test)} test documents instead of {wanted}, so its intervals are wide")


def stage_private(prepared: PreparedTraining, folder: Path, reporter: Reporter = SILENT) -> list[PrivateTask]:
    """Write the private suites into ``folder``, with the salt that the folder beside the recipe has, if it has one.

    :returns: held-out text, and the statements made of it if the recipe asks for them; nothing where nothing is held
        out at home.
    """
    if prepared.corpus.private is None:
        return []
    home = prepared.home / PRIVATE
    for source, target in ((home, folder), (home / STATEMENTS, folder / STATEMENTS)):
        _copy_salt(source, target)
    return _write(prepared, folder, reporter)


def keep_private(prepared: PreparedTraining, staged: Sequence[PrivateTask], reporter: Reporter = SILENT) -> None:
    """The same suites in ``private/`` beside the recipe, where they stay: :func:`cogen.forge.private_folder.keep`."""
    keep(prepared.home, prepared.recipe.id, staged, reporter)


def private_suite(task: PrivateTask, base: SuiteResult, expert: SuiteResult, harness: str) -> PrivateSuite:
    """What the manifest says of a private suite: size, figures and the salted digest of its test split.

    :param base: of the base, and ``expert`` of the expert, on the test split.
    """
    return PrivateSuite(
        id=task.id,
        title=task.title,
        metric=task.metric,
        documents=task.documents["test"],
        bytes=task.sizes["test"],
        text_digest=task.digests["test"],
        date=datetime.date.today().isoformat(),
        harness=harness,
        base=_figure(base),
        expert=_figure(expert),
    )


def _figure(result: SuiteResult) -> PrivateFigure:
    if result.low is None or result.high is None:
        raise TrainError(
            "the model's figures on the private suite are not numbers", hint="lower the learning rate and train again"
        )
    return PrivateFigure(value=round(result.value, 5), low=round(result.low, 5), high=round(result.high, 5))


def _write(prepared: PreparedTraining, folder: Path, reporter: Reporter = SILENT) -> list[PrivateTask]:
    held = prepared.corpus.private
    assert held is not None  # both callers have looked
    title = f"{prepared.recipe.card.title[:200]}: held-out text that stays with its publisher"
    dev, test = ([document.text for document in split] for split in (held.dev, held.test))
    groups = [document.group for document in held.dev], [document.group for document in held.test]
    tasks = [write_private(folder, PRIVATE, title, dev, test, groups=groups)]
    stated = stage_private_statements(prepared.recipe, prepared.corpus, folder / STATEMENTS, reporter)
    return tasks if stated is None else [*tasks, stated]


def _copy_salt(source: Path, target: Path) -> None:
    """A salt that was used stays the one: the same text then keeps its digest."""
    if (source / _SALT).is_file() and not (target / _SALT).exists():
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy2(source / _SALT, target / _SALT)

"""Methods that calibrate on text take experts that ship none: on text that these write themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import carry_out
from support.textless import PRIVATE_SUITE, WITHOUT_TEXT

from cogen.errors import CogenError
from cogen.fusion import generated
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TEXTS", 4), ("TOKENS", 12), ("BATCH", 2)):
        monkeypatch.setattr(generated, name, value)


def test_regmean(world: Any, host: Any, tmp_path: Path) -> None:
    """It is built, the same twice, and the plan says what it was calibrated on; other methods need nothing."""
    machine = host(world.expert("e1", 1), world.expert("mute", 2, **WITHOUT_TEXT))
    recipe = FuseRecipe(strategy="merge", method="regmean", scale=1.0, level="none")
    first = carry_out(machine, recipe, tmp_path / "one")
    note = "mute ships no sample text: calibration and training from 64 texts that it writes itself here"
    assert any(message.message.startswith(note) for message in first.plan.notes)
    again = carry_out(machine, recipe, tmp_path / "two")
    assert again.lock.weights_digest == first.lock.weights_digest
    plain, _ = make_plan(machine, recipe.model_copy(update={"method": "linear"}))
    assert not any("sample text" in message.message for message in plain.notes)


def test_nothing_here_can_be_measured(world: Any, host: Any, tmp_path: Path) -> None:
    """With no public suite at all, not even the general one: the scale is the middle one, and nothing is measured.

    What was asked for by name and needs a suite is refused.
    """
    machine = host(world.expert("e1", 1, **WITHOUT_TEXT), world.expert("e2", 2, **WITHOUT_TEXT))
    built = carry_out(machine, FuseRecipe(strategy="merge"), tmp_path / "out")
    assert (built.plan.suites, built.matrix, built.plan.scales) == ((), None, (0.7,))
    assert "so the scale is not searched for: it is 0.7" in " ".join(note.message for note in built.plan.notes)
    assert "Not measured" in (tmp_path / "out" / "README.md").read_text()
    for options in ({"scale": (0.5, 1.0)}, {"search": 3}, {"method": "greedy_soup"}):
        with pytest.raises(CogenError, match="no expert has a bits-per-byte suite to search on"):
            make_plan(machine, FuseRecipe(strategy="merge", **options))


def test_one_that_cannot_be_measured_leaves_the_others_their_search(world: Any, host: Any) -> None:
    """On their own suites; the plan says whose field plays no part."""
    machine = host(world.expert("e1", 1), world.expert("mute", 2, private_suites=[PRIVATE_SUITE], **WITHOUT_TEXT))
    plan, _ = make_plan(machine, FuseRecipe(strategy="merge"))
    assert len(plan.scales) == 5
    assert [suite.owner for suite in plan.suites] == ["e1"]
    (note,) = [note.message for note in plan.notes if "mute" in note.message]
    assert note.startswith("mute has no suite that can be run here")
    assert "please-measure.md" in note

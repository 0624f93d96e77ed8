"""What lies beside a student's weights comes along, or the plan names it; see ``tests/merging/test_side_files.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs import execute_plan

from cogen.artifacts.lock import read_lock
from cogen.checkpoints.digests import file_digest
from cogen.errors import CogenError
from cogen.fusion.distill.plan import plan_distillation
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Expert
from cogen.runs.execute import execute
from cogen.runs.prepare import prepare
from cogen.runs.replay import prepare_replay

#: Copied from the student, and one that nobody knows.
TAKEN = (
    "modules.json",
    "1_Pooling/config.json",
    "preprocessor_config.json",
    "additional_chat_templates/tool_use.jinja",
)
OWN = "own_index.json"


def decorate(folder: Path) -> None:
    """As a sentence-transformers model with a processor, a generation config and a file of its own."""
    for name in (*TAKEN, OWN):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps([name, folder.name]))
    modules = [{"idx": 0, "name": "0", "path": ""}, {"idx": 1, "name": "1", "path": "1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.25, "do_sample": True}))


def recipe(texts: Path, **distill: Any) -> FuseRecipe:
    small = {"tokens": 200, "tokens_a_step": 128, "rank": 2, "alpha": 4, "threads": 1, "texts": (str(texts),)}
    options = {"strategy": "distill", "level": "none", "distill": small | distill}
    return FuseRecipe.model_validate(options)


@pytest.fixture
def decorated(mixed: Any, world: Any) -> Any:
    """The host, whose base of aa and bb has side files, and whose expert qq has others."""
    base, own = world.folder / "base", world.folder / "weights-qq"
    decorate(base)
    decorate(own)
    found = {}
    for id, expert in mixed.found.items():
        model = expert.spec.model
        changes: dict[str, Any] = {}
        if id == "qq":
            changes = {"file_digest": file_digest(own)}
        else:
            changes = {"base": model.base.model_copy(update={"file_digest": file_digest(base)})}
        spec = expert.spec.model_copy(update={"model": model.model_copy(update=changes)})
        found[id] = Expert(spec, expert.distribution, expert.version, expert.root)
    mixed.found = found
    return mixed


@pytest.mark.parametrize(
    ("pivot", "settings", "donor", "whose"),
    [
        ("aa", {}, "base", "The base"),  # composed of aa and bb
        ("aa", {"groups": "apart"}, "base", "The base"),  # an adapter's base
        ("qq", {}, "weights-qq", "qq"),  # a whole model, whose base has none of it
        ("qq", {"mode": "full", "learning_rate": 1e-4}, "weights-qq", "qq"),
        ("aa", {"groups": "apart", "arrangement": "pairwise"}, "base", "The base"),
    ],
)
def test_the_students_side_files(
    decorated: Any,
    world: Any,
    texts: Path,
    shared_cache: Path,
    tmp_path: Path,
    pivot: str,
    settings: dict[str, Any],
    donor: str,
    whose: str,
) -> None:
    """All that is known is in the composite as the student has it; the rest is named, once."""
    plan, inputs = plan_distillation(decorated, recipe(texts, pivot=pivot, **settings))
    notes = [note.message for note in plan.notes if "left behind" in note.message]
    assert notes == [f"left behind of {whose}: {OWN}"]
    folder, source = execute_plan(decorated, plan, inputs, tmp_path / "out").folder, world.folder / donor
    for name in TAKEN:
        assert (folder / name).read_bytes() == (source / name).read_bytes(), name
    assert not (folder / OWN).exists()
    assert json.loads((folder / "generation_config.json").read_text())["temperature"] == 0.25
    assert (folder / "chat_template.jinja").read_bytes() == (source / "chat_template.jinja").read_bytes()
    own, taken = (json.loads((place / "tokenizer.json").read_text()) for place in (source, folder))
    assert taken["model"] == own["model"]


def test_a_composition_says_what_it_chose(decorated: Any, world: Any, texts: Path) -> None:
    """Notes of the plan that makes several experts one student are in the plan of the distillation, once."""
    plan, inputs = plan_distillation(decorated, recipe(texts, pivot="aa"))
    assert inputs.student.plan is not None
    messages = [note.message for note in plan.notes]
    assert {note.message for note in inputs.student.plan.notes} <= set(messages)
    assert len(set(messages)) == len(messages)


def test_a_lock_pins_them(decorated: Any, world: Any, texts: Path, shared_cache: Path, tmp_path: Path) -> None:
    """As a merge's: of the student's and the teachers' folders, and a replay with another one stops."""
    prepared = prepare(decorated, recipe(texts, pivot="aa"))
    outcome = execute(prepared, tmp_path / "out")
    lock = read_lock(outcome.folder)
    assert set(TAKEN) < set(lock.model_files["base"])
    assert set(TAKEN) < set(lock.model_files["qq"])
    (world.folder / "weights-qq" / "generation_config.json").write_text('{"temperature": 0.5}')
    with pytest.raises(CogenError):
        execute(prepare_replay(decorated, lock, "the lock", level="none"), tmp_path / "again", replay=lock)
    assert not (tmp_path / "again").exists()

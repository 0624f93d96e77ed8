"""A lock pins configuration and tokenizer of everything that a composite was made of; a replay compares them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import carry_out

from cogen.artifacts.lock import read_lock, write_lock
from cogen.checkpoints.side_files import side_files
from cogen.checkpoints.sources import reporter_of
from cogen.errors import PlanError
from cogen.fusion.recipe import FuseRecipe
from cogen.runs.execute import execute
from cogen.runs.replay import prepare_replay

ZERO = "sha256:" + "0" * 64


@pytest.fixture(params=["merge", "moe"])
def made(request: pytest.FixtureRequest, world: Any, host: Callable[..., Any], tmp_path: Path) -> tuple[Any, Path]:
    machine = host(world.expert("alpha", 1), world.expert("beta", 2, full=True))
    how: dict[str, Any] = {"scale": 0.5} if request.param == "merge" else {"routing": "hidden"}
    carry_out(machine, FuseRecipe(strategy=request.param, level="none", **how), tmp_path / "out")
    return machine, tmp_path / "out"


def test_what_a_lock_pins(world: Any, made: tuple[Any, Path]) -> None:
    """Of the base, of a whole model, and of an adapter its own files."""
    lock = read_lock(made[1])
    assert lock.version == 3
    assert lock.model_files == {
        "base": side_files(world.folder / "base"),
        "alpha": side_files(world.folder / "weights-alpha"),
        "beta": side_files(world.folder / "weights-beta"),
    }
    assert {"config.json", "tokenizer.json", "generation_config.json"} <= lock.model_files["beta"].keys()
    assert [*lock.model_files["alpha"]] == ["adapter_config.json"]


def test_a_replay_of_the_same_files(made: tuple[Any, Path], tmp_path: Path) -> None:
    machine, folder = made
    lock = read_lock(folder)
    notes: list[str] = []
    again = execute(
        prepare_replay(machine, lock, "the lock", reporter=reporter_of(notes.append)), tmp_path / "again", replay=lock
    )
    assert again.lock is not None
    assert again.lock.model_files == lock.model_files
    assert again.lock.weights_digest == lock.weights_digest
    assert not [note for note in notes if "pinned" in note]


@pytest.mark.parametrize(("name", "called"), [("base", "the base"), ("beta", "beta")])
def test_a_file_that_was_altered(made: tuple[Any, Path], name: str, called: str) -> None:
    """Named by file and model, before anything is built: its weights alone would pass."""
    machine, folder = made
    lock = read_lock(folder)
    files = {**lock.model_files, name: lock.model_files[name] | {"config.json": ZERO}}
    with pytest.raises(PlanError, match=rf"config\.json of {called} is another file") as caught:
        prepare_replay(machine, lock.model_copy(update={"model_files": files}), "the lock")
    assert caught.value.hint
    missing = {key: value for key, value in lock.model_files[name].items() if key != "tokenizer.json"}
    files = {**lock.model_files, name: missing}
    with pytest.raises(PlanError, match=rf"tokenizer\.json of {called} is another file"):
        prepare_replay(machine, lock.model_copy(update={"model_files": files}), "the lock")


def test_a_base_that_other_versions_converted(world: Any, host: Any, tmp_path: Path) -> None:
    """From GGUF: they may write the same in other words, so it is only said. By the same versions it is refused."""
    world.base()
    (world.folder / "base" / "gguf.json").write_text("{}")
    machine = host(world.expert("alpha", base=world.base()))
    carry_out(machine, FuseRecipe(level="none", scale=0.5), tmp_path / "out")
    lock = read_lock(tmp_path / "out")
    files = {**lock.model_files, "base": lock.model_files["base"] | {"config.json": ZERO}}
    altered = lock.model_copy(update={"model_files": files})
    with pytest.raises(PlanError, match=r"config\.json of the base is another file"):
        prepare_replay(machine, altered, "the lock")
    notes: list[str] = []
    other = altered.model_copy(update={"software": lock.software | {"transformers": "4.0"}})
    prepare_replay(machine, other, "the lock", reporter=reporter_of(notes.append))
    assert [note for note in notes if note.startswith("config.json of the base was converted from GGUF by other")]


def test_a_lock_of_before(made: tuple[Any, Path], tmp_path: Path) -> None:
    """Version 2 pinned none: it replays to the same bits, and that is said."""
    machine, folder = made
    value = json.loads((folder / "cogen.lock").read_text())
    value["version"] = 2
    del value["model_files"]
    (tmp_path / "old.lock").write_text(json.dumps(value))
    lock = read_lock(tmp_path / "old.lock")
    notes: list[str] = []
    again = execute(
        prepare_replay(machine, lock, "the lock", reporter=reporter_of(notes.append)), tmp_path / "again", replay=lock
    )
    assert again.lock is not None
    assert again.lock.weights_digest == lock.weights_digest
    assert [note for note in notes if "before CoGen pinned" in note]
    write_lock(lock, tmp_path / "new.lock")
    assert json.loads((tmp_path / "new.lock").read_text())["version"] == 3

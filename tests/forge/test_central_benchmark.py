"""benchmarks/central.py: the controls learn what the experts learned, go on where they stopped, and are compared."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomlkit
from support.training import training_recipe

from cogen.checkpoints.safetensors_file import read_header
from cogen.evals import BoundSuite
from cogen.forge.build import prepare, run_training
from cogen.forge.package import package

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "central.py"


@pytest.fixture(scope="module")
def central() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("central", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(recipe: Any, tmp_path: Path) -> list[Path]:
    """Two recipes of one base; the second expert learns twice as many tokens."""
    one = recipe()
    two = training_recipe(tmp_path / "two", recipe.base, "other")
    document = tomlkit.parse(two.read_text())
    document["training"]["tokens"] = 2 * 16 * 2 * 6  # type: ignore[index]
    document["corpus"]["seed"] = 6  # type: ignore[index]
    two.write_text(tomlkit.dumps(document))
    return [one, two]


def test_the_blocks_are_those_of_the_experts(central: Any, files: list[Path]) -> None:
    """Each expert's own, once each; one expert's share of them has the mean size, and text of both."""
    prepared = [prepare(file) for file in files]
    training, blocks = central.common_training(prepared), central.all_blocks(prepared)
    assert (training.tokens, training.threads, training.mode, training.rank) == (3 * 192, 1, "ffn", 2)
    own = [one.blocks().ids.tolist() for one in prepared]
    assert Counter(map(tuple, blocks.ids.tolist())) == Counter(map(tuple, own[0] + own[1]))
    assert blocks.ids.tolist() != own[0] + own[1]
    part, recipe = central.share(blocks, training, 2)
    assert (len(part.ids), recipe.tokens) == (18, 18 * 16)
    assert part.ids.tolist() == blocks.ids[:18].tolist()


def test_experts_that_were_trained_otherwise_have_no_control(central: Any, files: list[Path], recipe: Any) -> None:
    """Another rank is another recipe."""
    other = recipe(training={"rank": 4})
    with pytest.raises(SystemExit, match="differ in rank: 4 and 2"):
        central.common_training([prepare(other), prepare(files[1])])


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_a_run_that_was_cut_short_gives_the_same_weights(central: Any, files: list[Path], tmp_path: Path) -> None:
    """From its last checkpoint; and other texts begin anew."""
    whole = central.train_all(files, made(tmp_path / "whole"), ["central"], None)
    assert whole["controls"]["central"]["tokens"] == 3 * 192
    prepared = [prepare(file) for file in files]
    training, blocks = central.common_training(prepared), central.all_blocks(prepared)
    seen: list[int] = []

    def stop(step: Any) -> None:
        seen.append(step.step)
        if step.step == 7:
            raise KeyboardInterrupt

    arguments = prepared[0], blocks, training, tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        central.train_control("central", *arguments, stop)
    found = central.train_control("central", *arguments, lambda step: seen.append(step.step))
    assert (seen[:7], seen[7], seen[-1]) == ([1, 2, 3, 4, 5, 6, 7], 7, 18)
    assert weights(found) == weights(Path(whole["controls"]["central"]["weights"]))
    seen.clear()
    central.train_control("central", *arguments, lambda step: seen.append(step.step))
    assert seen == []  # it is done
    part, recipe = central.share(blocks, training, 2)
    central.train_control("central", prepared[0], part, recipe, tmp_path / "cut", lambda step: seen.append(step.step))
    assert seen == list(range(1, 10))


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_controls_are_measured_beside_the_composite(
    central: Any, files: list[Path], tmp_path: Path, recipe: Any
) -> None:
    """On an expert's suite: rows, paired differences and the sentence that it is about."""
    work = made(tmp_path / "work")
    central.train_all(files, work, ["central", "single"], None)
    for name in ("central", "single"):
        assert read_header(work / name / "weights" / "adapter_model.safetensors")
    prepared = prepare(files[0])
    spec = package(prepared, run_training(prepared, lambda _: None)).expert
    suites = [BoundSuite(spec.id, suite, prepared.home / prepared.recipe.plugin) for suite in spec.suites]
    composite = Path(recipe.base["source"].removeprefix("file://"))
    how = {"split": "test", "level": "full", "dtype": "float32"}
    matrix = central.measure(work, composite, suites, how, SimpleNamespace(experts=list))
    assert matrix.rows == ("base", "central", "single", "composite")
    assert matrix.columns == ("tiny/heldout",)
    # The "composite" of this test is the base itself.
    assert matrix.cells["composite"]["tiny/heldout"].value == matrix.cells["base"]["tiny/heldout"].value
    found = {(one["model"], one["against"]): one for one in central.differences(matrix)}
    assert set(found) == {("composite", "central"), ("composite", "single"), ("composite", "base"), ("central", "base")}
    same = found["composite", "base"]
    assert (same["percent"], same["low"], same["high"], same["n"], same["verdict"]) == (0, 0, 0, 30, "same")
    learned = found["central", "base"]
    value = matrix.cells["central"]["tiny/heldout"].value / matrix.cells["base"]["tiny/heldout"].value
    assert learned["percent"] == pytest.approx(100 * (value - 1))
    assert learned["low"] < learned["percent"] < learned["high"] < 0
    text = "\n".join(central.table(matrix, central.differences(matrix)))
    assert "The composite is worse than the central model on: tiny/heldout." in text
    assert json.loads((work / "controls.json").read_text())["controls"]["single"]["tokens"] == 18 * 16

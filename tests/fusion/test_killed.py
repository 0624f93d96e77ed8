"""A merge that is killed at any moment leaves nothing that looks finished, and the next run cleans up and succeeds."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import PRELOADED, run_cogen

from cogen.checkpoints.safetensors_writer import SafetensorsWriter

SHAPES = {f"model.layers.{i}.mlp.up_proj.weight": (1024, 2048) for i in range(12)}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models of 50 MB: enough work that a kill can land in the middle of it."""
    folder = tmp_path_factory.mktemp("models")
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    for model in ("base", "one", "two", "three"):
        (folder / model).mkdir()
        (folder / model / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 12}))
        shapes = {name: ("bfloat16", shape) for name, shape in SHAPES.items()}
        with SafetensorsWriter(folder / model / "model.safetensors", shapes) as writer:
            for name, tensor in base.items():
                noise = torch.randn(tensor.shape, generator=generator) * (0.0 if model == "base" else 0.1)
                writer.write(name, (tensor + noise).bfloat16())
    models = "".join(
        f"  - model: {folder / name}\n    parameters: {{weight: 1.0, density: 0.5}}\n"
        for name in ("one", "two", "three")
    )
    text = f"merge_method: ties\nbase_model: {folder / 'base'}\nmodels:\n{models}dtype: bfloat16\n"
    (folder / "recipe.yml").write_text(text)
    return folder / "recipe.yml"


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PRELOADED)


def start(recipe: Path, output: Path) -> Any:
    """The command in a process of its own, forked from one that has imported everything and run nothing."""
    process = FORKS.Process(target=run_cogen, args=("fuse", "--from-mergekit", str(recipe), "-o", str(output)))
    process.start()
    return process


def ended(process: Any) -> int:
    """Exit code, or minus the signal."""
    process.join()
    return int(process.exitcode)


def digests(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize("old", [False, True])
def test_killed_at_random_points(recipe: Path, tmp_path: Path, old: bool) -> None:
    """SIGKILL while it writes: the folder is missing (or the old one), and a rerun gives the same bytes as ever."""
    output, moments = tmp_path / "out", random.Random(17)
    assert ended(start(recipe, tmp_path / "whole")) == 0
    whole = digests(tmp_path / "whole")
    assert whole
    if old:
        assert ended(start(recipe, output)) == 0
        (output / "mark").write_text("the old one")
    killed = 0
    for _ in range(5):
        process = start(recipe, output)
        while process.is_alive() and not list(tmp_path.glob(".out.*.part/*.safetensors")):
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        if ended(process) == 0:  # it was done before the signal came: a whole folder, and the next round replaces it
            assert digests(output) == whole
            if old:
                (output / "mark").write_text("the old one")
            continue
        killed += 1
        if output.exists():
            assert digests(output) == whole
    assert killed
    assert ended(start(recipe, output)) == 0
    assert digests(output) == whole
    assert (output / "mark").exists() == old  # the user's own files stay
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_interrupted_by_hand(recipe: Path, tmp_path: Path) -> None:
    """Ctrl-C cleans up at once."""
    code = 0
    for _ in range(40):
        process = start(recipe, tmp_path / "out")
        while process.is_alive() and not list(tmp_path.glob(".out.*.part")):
            time.sleep(0.0005)
        os.kill(process.pid, signal.SIGINT)
        if (code := ended(process)) != 0:
            break
        shutil.rmtree(tmp_path / "out")  # it was done before the signal came
    assert code == 130
    left = [path.name for path in tmp_path.iterdir()]
    assert left in ([], ["out"])  # whole, where the signal came after the last rename
    if left:
        assert digests(tmp_path / "out") != {}
        assert (tmp_path / "out" / "config.json").is_file()

"""Every example runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cogen.checkpoints.model import open_folder
from cogen.cli.main import main
from cogen.fusion.recipe import read_fuse_recipe

_EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("recipe", sorted(_EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_recipes_are_valid(recipe: Path) -> None:
    """A recipe reads, and names experts that this repository ships."""
    shipped = {folder.name.removeprefix("cogen-plugin-") for folder in (_EXAMPLES.parent / "plugins").iterdir()}
    assert set(read_fuse_recipe(recipe).experts) <= shipped


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("recipe", sorted(_EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_recipes_build(recipe: Path, tmp_path: Path) -> None:
    """`cogen fuse --recipe` on the real experts."""
    assert main(["fuse", "--recipe", str(recipe), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    kind = "mixtral" if read_fuse_recipe(recipe).strategy == "moe" else "llama"
    assert open_folder(tmp_path / "out").config["model_type"] == kind


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("script", sorted(_EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_scripts_run(script: Path, tmp_path: Path) -> None:
    """Each script takes the folder to write as its argument."""
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert open_folder(tmp_path / "out").config["model_type"] == "llama"

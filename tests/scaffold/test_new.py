"""What `cogen new` makes is a real plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import file_digest
from cogen.conformance.overlap import grams, normal
from cogen.errors import UsageError
from cogen.forge.recipe import read_recipe
from cogen.scaffold import create
from cogen.scaffold.project import fill_in
from cogen.spec.expert import ExpertSpec
from cogen.spec.unfinished import unfinished

BASE = "smollm2-135m-instruct"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return create("my-law", tmp_path / "plugin", base=BASE, title="My law", publisher="Me & co", license="Apache-2.0")


def spec_of(plugin: Path) -> ExpertSpec:
    return ExpertSpec.model_validate(tomllib.loads((plugin / "src/cogen_plugin_my_law/expert.toml").read_text()))


def test_files_are_all_there(plugin: Path) -> None:
    """No placeholder is left, and all that is TOML is valid."""
    for path in plugin.rglob("*"):
        if path.is_file() and path.suffix not in (".safetensors",):
            assert "$" not in path.read_text()
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["cogen"] == {"my-law": "cogen_plugin_my_law"}
    assert project["dependencies"] == ["cogen-core"]
    assert (plugin / "LICENSE").read_text().count("Apache License") >= 1
    compile((plugin / "tests/test_expert.py").read_text(), "test_expert.py", "exec")


def test_nothing_is_declared_for_the_publisher(tmp_path: Path) -> None:
    """Without options, license and publisher are open, in every file; no text of the publisher's may leave."""
    folder = create("my-law", tmp_path / "open", base=BASE, title="My law")
    assert unfinished(spec_of(folder)) == ["publisher", "license"]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["authors"]) == ("LicenseRef-TODO", [{"name": "TODO"}])
    assert not (folder / "LICENSE").exists()
    recipe = read_recipe(folder / "recipe.toml")
    assert (recipe.card.license, recipe.card.publisher, recipe.card.personal_data) == ("TODO", "TODO", "unknown")
    (source,) = recipe.corpus.sources
    assert (source.license, source.leaves, recipe.statistics) == ("TODO", "nothing", None)


def test_options_fill_it_in(plugin: Path) -> None:
    """The manifest is finished; what the recipe leaves open is about the texts."""
    assert unfinished(spec_of(plugin)) == []
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["authors"]) == ("Apache-2.0", [{"name": "Me & co"}])
    assert unfinished(read_recipe(plugin / "recipe.toml")) == [
        "corpus.sources[0].license",
        "corpus.sources[0].license_evidence",
        "card.summary",
        "card.derivatives",
        "card.collected",
    ]
    other = create("law", plugin.parent / "law", base=BASE, title="Law", license="cc-by-4.0")
    assert tomllib.loads((other / "pyproject.toml").read_text())["project"]["license"] == "CC-BY-4.0"
    assert not (other / "LICENSE").exists()
    with pytest.raises(UsageError, match="not an SPDX license expression") as caught:
        create("x-law", plugin.parent / "x", base=BASE, title="Law", license="free")
    assert "Apache-2.0" in str(caught.value.hint)
    assert not (plugin.parent / "x").exists()


def test_train_settles_the_package_too(tmp_path: Path) -> None:
    """License and author of pyproject.toml come from the recipe's card; what the publisher wrote stays."""
    folder = create("my-law", tmp_path / "open", base=BASE, title="My law")
    fill_in(folder, "Apache-2.0", 'The "Law" office')
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["authors"]) == ("Apache-2.0", [{"name": 'The "Law" office'}])
    assert "Apache License" in (folder / "LICENSE").read_text()
    before = file_digest(folder)
    fill_in(folder, "MIT", "Others")
    assert file_digest(folder) == before


def test_a_trained_plugin_does_not_say_that_it_is_untrained(plugin: Path) -> None:
    """The README ships in the wheel. One that its publisher wrote stays as it is."""
    readme = plugin / "README.md"
    before = readme.read_text()
    assert "**It has not been trained yet.**" in before
    fill_in(plugin, "Apache-2.0", "Me & co")
    after = readme.read_text()
    assert "not been trained" not in after
    assert "starter texts about everyday things" not in after
    assert after.splitlines()[:3] == before.splitlines()[:3]
    assert after.partition("## Use it")[2] == before.partition("## Use it")[2] != ""
    assert "cogen train" not in after
    readme.write_text("# Mine\n")
    fill_in(plugin, "Apache-2.0", "Me & co")
    assert readme.read_text() == "# Mine\n"


def test_an_sdist_holds_no_texts(plugin: Path) -> None:
    """What is built by hand holds the package alone, and no index takes it."""
    (plugin / "private").mkdir()
    (plugin / "private" / "test.jsonl").write_text("{}\n")
    (plugin / "notes.txt").write_text("mine\n")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist"], cwd=plugin, check=True, timeout=120)
    (archive,) = (plugin / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as found:
        names = {name.partition("/")[2] for name in found.getnames()}
        metadata = found.extractfile(f"{archive.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert metadata is not None
        assert b"Classifier: Private :: Do Not Upload" in metadata.read()
    assert {name.split("/")[0] for name in names} == {
        *("src", "tests", "README.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"),
    }
    assert {"/texts/", "/private/"} <= set((plugin / ".gitignore").read_text().splitlines())


def test_recipe_is_one_that_train_reads(plugin: Path) -> None:
    """`cogen train recipe.toml` gets past reading it."""
    recipe = read_recipe(plugin / "recipe.toml")
    assert (recipe.id, recipe.plugin, recipe.base) == ("my-law", "src/cogen_plugin_my_law", BASE)


def test_manifest_is_honest(plugin: Path) -> None:
    """It names the published base, and says that it is not trained."""
    spec = spec_of(plugin)
    assert (spec.model.base, spec.tokenizer) == BASES[BASE]
    assert spec.summary.startswith("Not trained yet")
    assert spec.data.training == "unknown"
    assert spec.suites[0].claim is None
    root = plugin / "src/cogen_plugin_my_law"
    assert file_digest(root / "weights") == spec.model.file_digest


def test_adapter_is_zero_and_fits_the_base(plugin: Path) -> None:
    """B·A is exactly zero for every feed-forward matrix of 30 layers, and A is not."""
    weights = plugin / "src/cogen_plugin_my_law/weights"
    tensors = load_file(weights / "adapter_model.safetensors")
    assert len(tensors) == 30 * 3 * 2
    assert sum(tensor.size for tensor in tensors.values()) == spec_of(plugin).model.parameters
    for name, a in tensors.items():
        if "lora_A" in name:
            b = tensors[name.replace("lora_A", "lora_B")]
            shape = (576, 1536) if "down_proj" in name else (1536, 576)
            assert (b @ a).shape == shape
            assert not (b @ a).any()
            assert np.abs(a).max() > 0
    config = json.loads((weights / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == ["down_proj", "gate_proj", "up_proj"]


def test_weights_digest_is_that_of_the_reader(plugin: Path) -> None:
    """The digest is computed from arrays when writing; reading the file gives the same."""
    pytest.importorskip("torch")
    from cogen.checkpoints.digests import weights_digest
    from cogen.checkpoints.safetensors_file import read_bytes, read_folder

    own = read_folder(plugin / "src/cogen_plugin_my_law/weights")
    found = weights_digest(((i.name, i.dtype, i.shape) for i in own.values()), lambda name: read_bytes(own[name]))
    assert found == spec_of(plugin).model.weights_digest


def test_same_name_same_files(tmp_path: Path, plugin: Path) -> None:
    """Two runs write the same bytes."""
    again = create("my-law", tmp_path / "again", base=BASE, title="My law", publisher="Me & co", license="Apache-2.0")
    assert file_digest(again) == file_digest(plugin)


def test_starter_texts_are_of_a_source_of_the_card(plugin: Path) -> None:
    """A packing list can say of every text that ships where it is from."""
    root = plugin / "src/cogen_plugin_my_law"
    (source,) = spec_of(plugin).data.sources
    for name in ("samples.jsonl", "suites/dev.jsonl", "suites/test.jsonl"):
        lines = [json.loads(line) for line in (root / name).read_text().splitlines()]
        assert lines
        assert {line["source"] for line in lines} == {source.name}


def test_starter_texts_share_nothing(plugin: Path) -> None:
    """48 documents of which no two have eight words in a row in common."""
    root = plugin / "src/cogen_plugin_my_law"
    files = ["suites/test.jsonl", "suites/dev.jsonl", "samples.jsonl"]
    texts = [json.loads(line)["text"] for name in files for line in (root / name).read_text().splitlines()]
    assert len(texts) == 48
    runs = [" ".join(words[i : i + 8]) for words in (normal(t).split() for t in texts) for i in range(len(words) - 7)]
    assert len(set(runs)) == len(runs)
    assert all(list(grams(normal(text))) for text in texts)


def test_folder_that_is_not_empty_is_left_alone(plugin: Path) -> None:
    """Nobody's work is overwritten."""
    before = file_digest(plugin)
    with pytest.raises(UsageError, match="is there already"):
        create("my-law", plugin, base=BASE, title="My law", publisher="Me")
    assert file_digest(plugin) == before


def test_any_base_is_one_to_start_from(tmp_path: Path) -> None:
    """A folder, or a repository: its feed-forward matrices are found by their names, and training starts from it."""
    from support.tiny import save_model

    from cogen.conformance import check_tree
    from cogen.conformance.tree import read_tree
    from cogen.forge.build import resolve_base
    from cogen.forge.recipe import read_recipe

    base = save_model(tmp_path / "base", dtype="bfloat16")
    folder = create("tide", tmp_path / "plugin", base=str(base), title="Tide", publisher="Me")
    spec = read_tree(folder).expert().spec
    assert spec.model.base is not None
    assert (spec.model.base.source, spec.model.parameters) == (f"file://{base}", 6 * (32 + 64))
    found = {check.name: check.ok for check in check_tree(read_tree(folder), "smoke")}
    assert (found["weight facts"], found["weights"], found["tokenizer"]) == (True, True, True)
    recipe = read_recipe(folder / "recipe.toml")
    assert resolve_base(recipe.base, folder) == spec.model.base


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing-here is not here"):
        create("tide", tmp_path / "plugin", base="nothing-here", title="Tide", publisher="Me")
    assert not (tmp_path / "plugin").exists()


@pytest.mark.parametrize(
    ("language", "fold"), [("zh", True), ("zh-TW", True), ("yue", True), ("en", False), ("de", False)]
)
def test_the_language_of_the_texts(tmp_path: Path, language: str, fold: bool) -> None:
    """Manifest and recipe have it, and copies in the other characters are found where it is Chinese."""
    folder = create("ward", tmp_path / "ward", base=BASE, title="Ward", language=language)
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    assert recipe["card"]["languages"] == [language]
    assert recipe["corpus"].get("fold_chinese", False) is fold
    assert read_recipe(folder / "recipe.toml").corpus.fold_chinese is fold
    manifest = tomllib.loads((folder / "src" / "cogen_plugin_ward" / "expert.toml").read_text())
    assert manifest["languages"] == [language]


def test_what_is_no_language(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'chinese!' is not a language tag"):
        create("ward", tmp_path / "ward", base=BASE, title="Ward", language="chinese!")

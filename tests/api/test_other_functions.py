"""list_experts, evaluate, chat, merge and train: their results, equal to those of the command line, and silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.sites import run_python
from support.tiny import save_model
from support.training import training_recipe

import cogen
from cogen import merging
from cogen.cli.main import main
from cogen.errors import CogenError, UsageError

from .conftest import base_of_bfloat16


def cli(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_list_experts(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The usable ones, sorted; as the command line lists them."""
    found = cogen.list_experts()
    assert [(e.id, e.distribution, e.version) for e in found] == [
        ("energy", "cogen-plugin-energy", "1.0"),
        ("power", "cogen-plugin-power", "1.0"),
    ]
    assert [row["expert"] for row in cli(capsys, "list")["experts"]] == [expert.id for expert in found]


def test_evaluate(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results, comparisons and claims; the figures of the command line, which keeps the former key ``part``."""
    found = cogen.evaluate("power", against="base", split="dev")
    assert capsys.readouterr().out == ""
    assert (found.model, found.against, found.split, found.level) == ("power", "base", "dev", "quick")
    assert [r.column for r in found.results] == ["energy/heldout", "power/heldout"]
    for result, other, change in zip(found.results, found.baseline, found.comparisons, strict=True):
        assert change.difference == pytest.approx(result.value - other.value)
    printed = cli(capsys, "eval", "power", "--against", "base", "--split", "dev")
    assert [r["value"] for r in printed["results"]] == [r.value for r in found.results]
    assert all(r["cached"] for r in printed["results"])
    assert (printed["split"], printed["part"], printed["results"][0]["split"]) == ("dev", "dev", "dev")


def test_part_is_split(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The former option still works, and says how it is called now."""
    assert main(["eval", "power", "--part", "dev", "--suite", "power"]) == 0
    printed = capsys.readouterr()
    assert "warning: `--part` is deprecated: use `--split`" in printed.err
    assert "power: dev split, quick, bfloat16" in printed.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "unknown split 'train'; one of dev, test"),
        ({"level": "none"}, "unknown level 'none'; one of quick, full"),
        ({"dtype": "float16"}, "unknown dtype 'float16'; one of float32, bfloat16"),
        ({"suites": ["law"]}, "unknown suite 'law'"),
        ({"model": "./nowhere"}, "./nowhere is not a model folder"),
        ({"model": "powr"}, "no expert 'powr' is installed"),
    ],
)
def test_mistakes_of_evaluate(experts: Path, options: dict[str, Any], message: str) -> None:
    """Before a model is loaded, each with a hint."""
    with pytest.raises(UsageError) as caught:
        cogen.evaluate(**({"model": "power"} | options))
    assert message in caught.value.message
    assert caught.value.hint


def test_chat(experts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answers of the command line; turns add up; pieces of an answer are the answer."""
    capsys.readouterr()
    pieces: list[str] = []
    chat = cogen.chat("power", system="Be brief.", max_tokens=6)
    first = chat.ask("the grid operator", on_text=pieces.append)
    assert "".join(pieces).strip() == first.text == str(first)
    chat.ask("the voltage")
    assert [turn["role"] for turn in chat.turns] == ["system", "user", "assistant", "user", "assistant"]
    assert capsys.readouterr().out == ""
    options = ["-p", "the grid operator", "--system", "Be brief.", "--max-tokens", 6]
    assert cli(capsys, "chat", "power", *options)["answer"] == first.text
    assert main(["chat", "power", *map(str, options)]) == 0
    shown = "".join(c if c.isprintable() else " " for c in first.text)  # a terminal obeys no model
    assert capsys.readouterr().out.split() == shown.split()


def test_sampling_leaves_the_random_numbers_of_others_alone(experts: Path) -> None:
    """The same seed gives the same answer, and torch's own generator is where it was."""
    import torch

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    answers = {cogen.chat("power", temperature=1.0, seed=5, max_tokens=8).ask("the grid").text for _ in range(2)}
    assert torch.equal(torch.rand(3), expected)
    assert len(answers) == 1


def test_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What was written; the bits of the command line and of its former option, which names the new verb."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 1), ("b", 2)):
        save_model(tmp_path / name, seed)
    Path("config.yml").write_text("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n")
    capsys.readouterr()
    done = cogen.merge("config.yml", "one")
    assert capsys.readouterr().out == ""
    found = cli(capsys, "merge", "config.yml", "-o", "two")
    assert (found["tensors"], found["bytes"]) == (done.tensors, done.bytes)
    assert main(["fuse", "--from-mergekit", "config.yml", "-o", "three"]) == 0
    notice = "`cogen fuse --from-mergekit` is deprecated: use `cogen merge config.yml -o three`"
    assert notice in capsys.readouterr().err
    assert len({(Path(name) / "model.safetensors").read_bytes() for name in ("one", "two", "three")}) == 1


def test_train(experts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan that keeps nothing, then an expert in its plugin's folder; trained once, it is not planned again."""
    recipe = training_recipe(tmp_path / "tiny", base_of_bfloat16(experts))
    capsys.readouterr()
    plan = cogen.plan_training(recipe)
    assert (plan.recipe.id, plan.estimate.steps) == ("tiny", 6)
    assert sum(plan.sources.values()) == plan.estimate.corpus_tokens
    plans: list[Any] = []
    made = cogen.train(recipe, on_plan=plans.append)
    assert capsys.readouterr().out == ""
    assert [plan.estimate.steps for plan in plans] == [6]
    assert (made.expert.id, made.folder) == ("tiny", recipe.parent / "src/cogen_plugin_tiny")
    assert (made.folder / "expert.toml").is_file()
    again = cogen.train(recipe, on_plan=plans.append)
    assert again.expert == made.expert
    assert len(plans) == 1
    assert cli(capsys, "train", recipe)["weights_digest"] == made.expert.model.weights_digest


def test_notebooks_show_tables(experts: Path, tmp_path: Path) -> None:
    """Plan, matrix, composite and evaluation; what experts and folders are called is escaped."""
    plan = cogen.plan(scale=0.5)
    title = plan.experts[0].model_copy(update={"license": "<script>alert(1)</script>"})
    hostile = plan.model_copy(update={"experts": (title,)})
    assert "<td>power</td>" in plan._repr_html_()
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()
    composite = cogen.fuse(["power"], tmp_path / "<b>", scale=0.5)
    value = composite.matrix.get("composite", "power/heldout").value
    assert f"{value:.3f}" in composite._repr_html_()
    assert f"{value:.3f}" in composite.matrix._repr_html_()
    assert "&lt;b&gt;" in composite._repr_html_()
    opened = cogen.Composite.open(composite.folder).matrix
    assert opened._repr_html_() == composite.matrix._repr_html_()
    assert opened.get("composite", "power/heldout").value == value
    assert str(opened) == str(composite.matrix)
    heading, heads, *lines = str(opened).splitlines()
    assert (heading, heads.split()[0]) == ("test split, level quick", "model")
    assert [line.split()[0] for line in lines] == ["base", "power", "composite"]
    assert f"{value:.3f}" in lines[-1].split()
    assert "not measured" in cogen.fuse(["power"], tmp_path / "b", scale=0.5, level="none")._repr_html_()
    assert "<th>verdict</th>" in cogen.evaluate("power", against="base", suites="power")._repr_html_()
    assert "plan of strategy route" in cogen.plan(strategy="route")._repr_html_()


def test_the_import_is_light_and_names_are_there(site: Path, tmp_path: Path) -> None:
    """`import cogen`, the names of its functions and the Reporter import neither torch nor pydantic nor typer."""
    code = """
import sys
import cogen
heavy = {"torch", "transformers", "pydantic", "numpy", "typer", "rich", "pluggy"}
assert not heavy & set(sys.modules)
for name in ("plan", "fuse", "update", "merge", "evaluate", "train", "chat", "list_experts", "Composite", "Reporter"):
    getattr(cogen, name)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
for name in cogen.__all__:
    assert getattr(cogen, name) is not None
print("torch" in sys.modules)
"""
    assert run_python(code, site, tmp_path / "cache").splitlines()[-1] == "False"


def test_help_shows_the_options() -> None:
    """Options stand in the signature, as keyword arguments of their own."""
    import inspect

    from cogen.api.options import FuseOptions

    for function in (cogen.plan, cogen.fuse):
        parameters = inspect.signature(function).parameters
        assert set(FuseOptions.__annotations__) < set(parameters)
        assert parameters["method"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["method"].annotation == "str | None"


def test_choices_are_those_of_the_models() -> None:
    """What the command line shows without importing it."""
    from typing import get_args

    from cogen import choices
    from cogen.evals import matrix, settings
    from cogen.fusion import recipe

    assert get_args(recipe.Level) == choices.LEVELS
    assert get_args(recipe.Routing) == choices.ROUTINGS
    assert get_args(recipe.Transplant) == choices.TRANSPLANTS
    assert get_args(recipe.MatrixKind) == get_args(matrix.MatrixKind) == choices.MATRICES
    assert get_args(recipe.EnsembleKind) == choices.ENSEMBLES
    assert get_args(settings.Level) == choices.EVAL_LEVELS
    assert (*cogen.Host().strategies(), "auto") == choices.STRATEGIES
    with pytest.raises(CogenError, match="unknown strategy 'foo'; one of merge, moe, distill, route, auto"):
        choices.check_choice("strategy", "foo", choices.STRATEGIES)


@pytest.mark.parametrize("name", ["plan", "fuse", "update", "evaluate", "chat", "merge", "train", "plan_training"])
def test_a_light_install_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is done: the extra that brings what is missing."""
    from cogen import extras
    from cogen.errors import MissingExtraError

    monkeypatch.setitem(extras.EXTRAS, "fuse", ("no_such_module",))
    arguments: dict[str, tuple[str, ...]] = {"plan": (), "fuse": (), "update": ("a", "b"), "merge": ("a", "b")}
    with pytest.raises(MissingExtraError, match=f"cogen.{name} needs no_such_module") as caught:
        getattr(cogen, name)(*arguments.get(name, ("x",)))
    assert caught.value.hint == 'pip install "cogen-core[fuse]"'


def test_what_a_light_install_can_open_it_cannot_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cogen import extras
    from cogen.errors import MissingExtraError

    monkeypatch.setitem(extras.EXTRAS, "fuse", ("no_such_module",))
    composite = cogen.Composite(tmp_path, "merge", None, None, None, None)
    with pytest.raises(MissingExtraError, match=r"Composite\.load needs no_such_module"):
        composite.load()
    monkeypatch.setitem(merging._MODULES, "merge", "no_such_module")
    with pytest.raises(MissingExtraError, match=r"cogen\.merging\.merge needs no_such_module") as caught:
        merging.merge  # noqa: B018
    assert caught.value.hint == 'pip install "cogen-core[fuse]"'

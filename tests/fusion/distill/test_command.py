"""`cogen plan` and `cogen fuse` on an install of several families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cogen.cli.main import main
from cogen.errors import CogenError
from cogen.fusion.distill.plan import plan_distillation
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.selection import chosen_experts
from cogen.fusion.strategies import pick_strategy


@pytest.fixture
def machine(mixed: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("cogen.host.Host.discover", lambda *_, **__: mixed)
    return mixed


def picked(machine: Any, recipe: FuseRecipe) -> str:
    return pick_strategy(machine, chosen_experts(machine, recipe), recipe).name


def settings(texts: Path, folder: Path, **distill: Any) -> Path:
    small = {"tokens": 300, "tokens_a_step": 128, "rank": 2, "alpha": 4, "threads": 1, "texts": [str(texts)]} | distill
    lines = ["[distill]", *(f"{name} = {json.dumps(value)}" for name, value in small.items())]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_mixed_install_is_one_command(machine: Any, texts: Path, tmp_path: Path, capsys: Any) -> None:
    """Experts of two bases: nothing has to be chosen. The plan says who does what, and what each step takes."""
    path = settings(texts, tmp_path)
    assert main(["plan", "--recipe", str(path), "--level", "quick", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["strategy"] == "distill"
    parts = plan["details"]
    assert (parts["pivot"]["experts"], [t["experts"] for t in parts["teachers"]]) == (["aa", "bb"], [["qq"]])
    assert [s["stage"] for s in parts["stages"]] == ["compose", "score", "control", "teach", "measure", "measure"]
    assert all(s["tokens"] > 0 for s in parts["stages"])
    assert parts["stages"][1]["bytes"] > 0
    assert main(["fuse", "--recipe", str(path), "--level", "quick", "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["strategy"] == "distill"
    assert set(found["matrix"]) == {"base", "aa", "bb", "qq", "control", "composite"}
    assert "control" in found["against_control"]
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_options_are_the_recipes_fields(machine: Any, texts: Path, capsys: Any) -> None:
    """Who learns, from what and how much, on the command line; the plan counts what each model is measured on."""
    command = ["plan", "--strategy", "distill", "--pivot", "qq", "--tokens", "777", "--texts", str(texts), "--json"]
    assert main(command) == 0
    plan = json.loads(capsys.readouterr().out)
    found = plan["details"]
    assert (found["pivot"]["experts"], found["tokens"], found["texts"]) == (["qq"], 777, 16)
    assert found["settings"]["texts"] == [str(texts)]
    test = sum(suite["test_tokens"] for suite in plan["suites"])
    own = {suite["owner"]: suite["test_tokens"] for suite in plan["suites"]}
    measured = {s["what"]: s["tokens"] for s in found["stages"] if s["stage"] == "measure"}
    general = own.get("general", 0)
    both = own["aa"] + own["bb"] + 2 * general  # each by itself; then the teacher that is made of them
    assert measured == {"qq": 3 * test + own["qq"] + general, "aa + bb": both + own["aa"] + own["bb"] + general}
    assert main([*command, "--matrix", "full"]) == 0
    found = json.loads(capsys.readouterr().out)["details"]
    measured = {s["what"]: s["tokens"] // test for s in found["stages"] if s["stage"] == "measure"}
    assert measured == {"qq": 4, "aa + bb": 3}


def test_preferences_keep_odd_line_ends(tmp_path: Path) -> None:
    """U+2028 ends no line of JSON."""
    from cogen.fusion.distill.student.preference.pairs import read_preferences

    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "p", "chosen": "one\u2028two", "rejected": "three"}\n', encoding="utf-8")
    (better,), (worse,) = read_preferences(file)
    assert (better.answer, worse.answer, better.messages[0].content) == ("one\u2028two", "three", "p")


def test_a_saved_plan_is_built(machine: Any, texts: Path, tmp_path: Path, capsys: Any) -> None:
    path, plan = settings(texts, tmp_path), tmp_path / "plan.json"
    assert main(["plan", "--recipe", str(path), "--level", "none", "-o", str(plan)]) == 0
    assert main(["fuse", "--plan", str(plan), "-o", str(tmp_path / "out")]) == 0
    assert main(["fuse", "--lock", str(tmp_path / "out"), "--level", "none", "-o", str(tmp_path / "again")]) == 0
    one, two = (tmp_path / name / "model.safetensors" for name in ("out", "again"))
    assert one.read_bytes() == two.read_bytes()
    # Without bb the pivot is another one: it is taught anew, and the command says so.
    capsys.readouterr()
    folder = str(tmp_path / "fewer")
    assert main(["fuse", "--onto", str(tmp_path / "out"), "--remove", "bb", "--level", "none", "-o", folder]) == 0
    reported = capsys.readouterr()
    assert "a distilled model has no experts to take out" in reported.out + reported.err
    assert (tmp_path / "fewer" / "model.safetensors").read_bytes() != one.read_bytes()


def test_what_auto_means(machine: Any) -> None:
    assert picked(machine, FuseRecipe()) == "distill"
    assert picked(machine, FuseRecipe(method="uld+alm", experts={"aa": 1.0, "bb": 1.0})) == "distill"
    assert picked(machine, FuseRecipe(experts={"aa": 1.0, "bb": 1.0})) == "merge"
    # Who asks for a merge gets told why there is none.
    assert picked(machine, FuseRecipe(method="ties")) == "merge"
    assert picked(machine, FuseRecipe(scale=0.5)) == "merge"


@pytest.mark.parametrize(
    ("recipes", "text", "hint"),
    [
        ({"method": "ulm"}, "unknown distillation loss 'ulm'", "alm"),
        ({"method": "alm", "parameters": {"k": 3}}, "no parameter 'k'", "tau"),
        ({"scale": 0.5}, "scale does not apply to strategy distill", "leave it out"),
        ({"experts": {"aa": 1.0, "bb": 1.0}}, "no teacher is left", "apart"),
        ({"distill": {"pivot": "zz"}}, "'zz' is not among the experts", "aa"),
        ({"distill": {"texts": ["nowhere.jsonl"]}}, "nowhere.jsonl cannot be read", "texts are there"),
        ({"method": "infifpo"}, "pairs of answers", "chosen"),
    ],
)
def test_impossible_wishes(machine: Any, recipes: dict[str, Any], text: str, hint: str) -> None:
    with pytest.raises(CogenError, match=text) as found:
        plan_distillation(machine, FuseRecipe.model_validate({"strategy": "distill"} | recipes))
    assert hint in (found.value.hint or "")


@pytest.mark.parametrize("method", ["infifpo", "dpo"])
def test_preferences(machine: Any, tmp_path: Path, method: str) -> None:
    """Pairs of answers: afterwards the better ones are likelier against the worse ones than before."""
    import torch
    from support.runs import execute_plan

    from cogen.checkpoints.load import load_model, load_tokenizer
    from cogen.checkpoints.model import open_folder
    from cogen.fusion.distill.alignment.encode import Encoder
    from cogen.fusion.distill.student.collate import student_batch
    from cogen.fusion.distill.student.preference.trainer import mean_logprobs
    from cogen.fusion.distill.texts import Item, Message

    pairs = [("what?", "the grid operator", "at every node"), ("who?", "power network", "current and voltage")]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, "chosen": c, "rejected": r}) + "\n" for p, c, r in pairs))
    small = {"tokens": 400, "tokens_a_step": 256, "rank": 4, "alpha": 8, "learning_rate": 0.01, "threads": 1}
    recipe = FuseRecipe.model_validate(
        {"strategy": "distill", "method": method, "level": "none", "distill": small | {"texts": [str(file)]}}
    )
    plan, inputs = plan_distillation(machine, recipe)
    outcome = execute_plan(machine, plan, inputs, tmp_path / "out")

    def margin(folder: Path) -> float:
        tokenizer = load_tokenizer(folder)
        answers = [
            Item(a, (Message("user", p),)) for side in (1, 2) for p, a in ((pair[0], pair[side]) for pair in pairs)
        ]
        made = student_batch(Encoder(tokenizer).encode(answers, 200), 0, closing=False)
        model = load_model(open_folder(folder), "float32")
        with torch.no_grad():
            logits = model(made["input_ids"], attention_mask=made["attention_mask"]).logits
        means = mean_logprobs(logits, made["targets"], len(tokenizer))
        return float((means[:2] - means[2:]).mean())

    from cogen.fusion.distill.compose import compose_group

    assert margin(outcome.folder) > margin(compose_group(inputs.student).folder) + 0.1

"""`cogen plan` and `cogen fuse` of mixtures, from the command line to the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.families import Zoo
from support.mixtures import bits, loaded
from support.tiny import tokenizer

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.cli.main import main
from cogen.evals import model_digest, run_suites
from cogen.fusion.moe.insight import usage, without
from cogen.host import Host

MOE = ["--strategy", "moe", "--routing", "hidden"]


@pytest.fixture(autouse=True)
def world(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    monkeypatch.setattr("cogen.fusion.moe.train_routers.STEPS", 2)
    zoo = Zoo(world)
    machine = host(*(zoo.ffn(f"e{i}", i) for i in (1, 2, 3)))
    monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))
    return zoo


def run(capsys: pytest.CaptureFixture[str], *arguments: Any, code: int = 0) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Mixture, domains and insight: shares sum to one, and each expert is left out once."""
    found = run(capsys, "fuse", "e1", "e2", *MOE, "--level", "quick", "-o", tmp_path / "out")
    assert found["strategy"] == "moe"
    assert set(found["mixture"]["slots"]) == {"base", "e1", "e2"}
    assert found["mixture"]["bytes"] == 4 * found["mixture"]["parameters"]
    assert found["mixture"]["parameters"] == sum(p.numel() for p in loaded(tmp_path / "out").parameters())
    assert {domain["column"] for domain in found["domains"]} == {"e1/heldout", "e2/heldout"}
    assert set(found["seconds"]) >= {"routing", "assembly", "measure", "insight"}
    insight = found["insight"]  # the former name
    assert found["expert_usage"] == {"experts": insight["slots"], "texts": insight["usage"]}
    assert found["ablation"] == insight["contributions"]
    assert insight["slots"] == found["mixture"]["slots"]
    assert [used["column"] for used in insight["usage"]] == ["e1/heldout", "e2/heldout"]
    for used in insight["usage"]:
        for chosen, weight in zip(used["chosen"], used["weight"], strict=True):
            assert sum(chosen) == pytest.approx(2)  # two experts a token
            assert sum(weight) == pytest.approx(1)
            assert all(0 <= share <= often + 1e-9 for share, often in zip(weight, chosen, strict=True))
    assert set(insight["contributions"]) == {"composite", "without e1", "without e2"}
    assert {c: v["value"] for c, v in insight["contributions"]["composite"].items()} == {
        c: v["value"] for c, v in found["matrix"]["composite"].items() if c in insight["contributions"]["composite"]
    }
    # Without an expert the mixture is measured on that expert's texts; with a full matrix on all.
    assert [set(insight["contributions"][f"without e{i}"]) for i in (1, 2)] == [{"e1/heldout"}, {"e2/heldout"}]
    assert found["not_measured"] == {"e1": ["e2/heldout"], "e2": ["e1/heldout"]}
    full = run(capsys, "fuse", "e1", "e2", *MOE, "--level", "quick", "--matrix", "full", "-o", tmp_path / "full")
    assert full["not_measured"] == {}
    assert [set(cells) for cells in full["ablation"].values()] == [{"e1/heldout", "e2/heldout"}] * 3
    assert full["ablation"]["without e1"]["e1/heldout"] == insight["contributions"]["without e1"]["e1/heldout"]
    own, whole = (
        run(capsys, "plan", "e1", "e2", *MOE, "--level", "quick", "--matrix", kind) for kind in ("own", "full")
    )
    texts = sum(suite["test_tokens"] for suite in own["suites"])  # each of two experts is left out on half of them
    assert (own["cost"]["insight_tokens"], whole["cost"]["insight_tokens"]) == (3 * texts, 4 * texts)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "router", "report.html", "README.md", "cogen.lock"} <= names


def test_people_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The plan in words, who works where, and what is missed without whom."""
    assert main(["fuse", "e1", "e2", *MOE, "--level", "quick", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "moe, routing hidden, onto The base" in printed.out
    assert "2 experts of one base and tokenizer become one MixtralForCausalLM (you asked for it)" in printed.out
    assert "3 experts (the base's own feed-forward blocks are one), 2 on a token" in printed.out
    assert "expert usage: share of each expert in the output" in printed.out
    assert "ablation: change of bits per byte when an expert is left out" in printed.out
    assert "without e1" in printed.out


def test_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A saved plan is carried out as it was reviewed."""
    plan = run(capsys, "plan", "e1", "e2", *MOE, "--level", "none", "-o", tmp_path / "plan.json")
    assert (plan["strategy"], plan["details"]["routing"], plan["details"]["top_k"]) == ("moe", "hidden", 2)
    assert plan["mixture"] | {"strategy": "moe"} == plan["details"]  # the key of version 1
    found = run(capsys, "fuse", "--plan", tmp_path / "plan.json", "-o", tmp_path / "out")
    assert found["plan_digest"] == plan["digest"]
    assert found["mixture"] | {"strategy": "moe"} == plan["details"] | {"bytes": plan["cost"]["output_bytes"]}


def test_update(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Says what is kept and what is made anew; the bits are those of a fresh build."""
    out = {name: tmp_path / name for name in ("all", "less", "fresh", "again")}
    run(capsys, "fuse", *MOE, "--level", "none", "-o", out["all"])
    assert main(["update", str(out["all"]), "--remove", "e2", "-o", str(out["less"])]) == 0
    assert "kept as they are: e1, e3; nothing is made anew" in capsys.readouterr().err
    run(capsys, "fuse", "e1", "e3", *MOE, "--level", "none", "-o", out["fresh"])
    assert bits(out["less"]) == bits(out["fresh"])
    found = run(capsys, "update", out["less"], "--add", "e2", "-o", out["again"])
    assert found["reused"] == "kept as they are: e1, e3; made anew: e2"
    assert bits(out["again"]) == bits(out["all"])
    assert main(["fuse", "--lock", str(out["less"]), "-o", str(tmp_path / "replayed"), "--level", "none"]) == 0
    assert bits(tmp_path / "replayed") == bits(out["less"])


def test_update_of_what_is_rebuilt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Trained routers, and merges: the command says so."""
    for name, options, printed in (
        ("trained", ["--strategy", "moe"], "rebuilt from e1, e2: its routers were trained with all of its experts"),
        ("merged", ["--same-size", "--scale", "0.3"], "a merge has no experts to take out or put in: it is rebuilt"),
    ):
        run(capsys, "fuse", *options, "--level", "none", "-o", tmp_path / name)
        assert main(["update", str(tmp_path / name), "--remove", "e3", "-o", str(tmp_path / f"{name}2")]) == 0
        assert printed in capsys.readouterr().err


def test_onto_is_update(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The former options of `cogen fuse` give the same bits, and a notice that names the new verb."""
    run(capsys, "fuse", *MOE, "--level", "none", "-o", tmp_path / "all")
    run(capsys, "update", tmp_path / "all", "--remove", "e2", "-o", tmp_path / "new")
    assert main(["fuse", "--onto", str(tmp_path / "all"), "--remove", "e2", "-o", str(tmp_path / "old")]) == 0
    notice = f"use `cogen update {tmp_path / 'all'} --remove e2 -o {tmp_path / 'old'}`"
    assert f"warning: `cogen fuse --onto` is deprecated: {notice}" in capsys.readouterr().err
    assert bits(tmp_path / "old") == bits(tmp_path / "new")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to update"),
        (["--remove", "e9"], "e9 is not in"),
        (["--add", "e1"], "e1 is in"),
        (["--level", "ful"], "unknown level 'ful'; one of quick, full, none"),
    ],
)
def test_wrong_updates(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], message: str) -> None:
    """With a hint, and nothing is written."""
    run(capsys, "fuse", *MOE, "--level", "none", "-o", tmp_path / "all")
    found = run(capsys, "update", tmp_path / "all", *options, "-o", tmp_path / "out", code=3)
    assert message in found["error"]
    assert found["hint"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--remove", "e1"], "--add and --remove change a composite"),
        (["--onto", "x"], "--onto goes with --add and --remove alone"),
        (["--onto", "x", "--remove", "e1", "--top-k", "2"], "--onto goes with --add and --remove alone"),
        (["--same-size", "--routing", "hidden"], "routing is for strategy moe"),
        (["--same-size", "--strategy", "moe"], "--same-size is strategy merge, not moe"),
        ([*MOE, "--scale", "0.1", "--scale", "0.2"], "strategy moe tunes no merge parameters"),
    ],
)
def test_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], message: str) -> None:
    """With a hint, and nothing is written."""
    reported = run(capsys, "fuse", *options, "-o", tmp_path / "out", code=3)
    assert message in reported["error"]
    assert reported["hint"]
    assert not (tmp_path / "out").exists()


def test_usage_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By hand: what the routers answered on every token of text, without the prefix token."""
    import torch

    from cogen.evals import quick_texts, suites_of
    from cogen.routing.states import windows

    run(capsys, "fuse", "e1", *MOE, "--top-k", "1", "--level", "none", "-o", tmp_path / "out")
    model = load_model(open_folder(tmp_path / "out"), "float32")
    (bound,) = suites_of(Host.discover().expert("e1"))
    used = usage(model, tokenizer(), bound)
    texts = windows(tokenizer(), quick_texts(bound, tokenizer()), 1023)
    assert used.tokens == sum(len(ids) - 1 for ids in texts)
    chosen = torch.zeros(2)
    for ids in texts:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids]), output_router_logits=True).router_logits[1][1:]
        chosen += torch.bincount(states.argmax(-1), minlength=2)
    assert used.chosen[1] == pytest.approx((chosen / used.tokens).tolist())
    assert used.chosen == used.weight  # one expert a token has all of the weight
    values = []
    for slot in (None, 1):
        with without(model, slot):
            values += run_suites(
                model,
                tokenizer(),
                [bound],
                model_digest=f"{model_digest(open_folder(tmp_path / 'out'))} {slot}",
                tokenizer_digest="t",
                split="test",
                level="quick",
                dtype="float32",
            )
    assert values[0].value != values[1].value

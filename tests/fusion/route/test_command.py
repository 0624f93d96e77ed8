"""`cogen plan`, `fuse`, `chat` and `eval` with strategy route, from the command line to the folder, on tiny models."""

from __future__ import annotations

import gc
import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from support.hub_card import faults
from support.tiny import tokenizer

from cogen.api.chat import reply
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_model
from cogen.cli.main import main
from cogen.evals import Matrix, Settings, suites_of
from cogen.evals.hub import dataset_name
from cogen.fusion.route import open_members, read_route
from cogen.fusion.route.documents import documents_of
from cogen.fusion.route.posterior import PosteriorEnsemble, mixed_scores
from cogen.fusion.route.scores import token_scores
from cogen.host import Host

RECIPE = ["--strategy", "route"]
FULL = [*RECIPE, "--matrix", "full"]
#: What the bag of letters takes for a question about e1.
QUESTION = "e1train0word0 e1train0word1 e1train0word2"


@pytest.fixture
def machine(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch, general: Any) -> Any:
    """Two experts of one base are installed."""
    return installed(monkeypatch, general, host(world.expert("e1", 1), world.expert("e2", 2)))


@pytest.fixture
def strangers(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch, general: Any) -> Any:
    """An adapter, and a model of another architecture, tokenizer and size that was made from nothing."""
    return installed(monkeypatch, general, host(world.expert("e1", 1), gpt2(world)))


def installed(monkeypatch: pytest.MonkeyPatch, general: Any, machine: Host) -> Host:
    monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))
    monkeypatch.setattr("cogen.evals.general_suites", lambda: [general])
    return machine


def gpt2(world: Any) -> Any:
    """A GPT-2 with a token more than the Llamas have."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = world.folder / "weights-e2"
    own = tokenizer().__class__(tokenizer_object=_longer(), eos_token="<|endoftext|>")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(own), n_embd=16, n_layer=1, n_head=2, n_positions=1024, bos_token_id=0, eos_token_id=0
            )
        )
    model.to(torch.bfloat16).save_pretrained(folder)
    own.save_pretrained(folder)
    return world.expert(
        "e2",
        full=True,
        tokenizer_is=tokenizer_digest(own),
        model={"relation": "scratch", "base": None, "architecture": "GPT2LMHeadModel"},
    )


def _longer() -> Any:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer().backend_tokenizer.to_str())
    backend.add_tokens(["e2test"])
    return backend


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_plan_says_what_will_be_done(machine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Experts, fallback and the tokens that the rows take; nothing is written."""
    plan = run(capsys, "plan", *FULL)
    assert (plan["strategy"], [e["id"] for e in plan["experts"]], plan["details"]["ensemble"]) == (
        "route",
        ["e1", "e2"],
        True,
    )
    one = sum(suite["test_tokens"] for suite in plan["suites"])
    cost = {name: tokens for name, tokens in plan["cost"].items() if tokens}
    assert cost.pop("parameters") > 0
    assert cost == {"matrix_tokens": 3 * one, "ensemble_tokens": 3 * one}
    own = run(capsys, "plan", *RECIPE)
    sizes = {suite["owner"]: suite["test_tokens"] for suite in own["suites"]}
    cost = {name: tokens for name, tokens in own["cost"].items() if tokens and name != "parameters"}
    # the base on all suites, each expert on its own and on general text
    assert cost == {"matrix_tokens": one + sizes["e1"] + sizes["e2"] + 2 * sizes["general"]}
    assert (own["matrix"], own["details"]["ensemble"], plan.get("matrix", "full")) == ("own", False, "full")
    assert main(["plan", *FULL]) == 0
    text = capsys.readouterr().out
    assert f"{6 * one:,} forward tokens ({3 * one:,} matrix, {3 * one:,} ensemble) in bfloat16" in text
    assert "the rest to The base" in text


def test_fuse_measures_all_rows(machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Base, experts, route, ensemble, oracle; the figures of the JSON, the card and matrix.json are the same."""
    folder = tmp_path / "route"
    found = run(capsys, "fuse", *FULL, "-o", str(folder))
    assert list(found["matrix"]) == ["base", "e1", "e2", "route", "ensemble", "oracle"]
    matrix = Matrix.from_json(json.loads((folder / "matrix.json").read_text()))
    for row, cells in matrix.cells.items():
        assert {name: cell.value for name, cell in cells.items()} == {
            name: cell["value"] for name, cell in found["matrix"][row].items()
        }
    assert matrix.get("oracle", "e1/heldout") == matrix.get("e1", "e1/heldout")
    assert matrix.get("oracle", "general/heldout") == matrix.get("base", "general/heldout")
    for name, where in found["routed"].items():
        cell = found["matrix"]["route"][name]
        assert sum(where.values()) == cell["n"]
        if len(where) == 1:  # all went to one model: its figure
            assert cell["value"] == found["matrix"][next(iter(where))][name]["value"]
    assert found["to_own_expert"] == sum(found["routed"][f"{id}/heldout"].get(id, 0) for id in ("e1", "e2"))
    card = (folder / "README.md").read_text()
    hub = ModelCard(card).data
    assert faults(card) == []
    assert (hub.license, hub.library_name, hub.pipeline_tag) == ("apache-2.0", "cogen", "text-generation")
    assert {"cogen", "route", "e1", "e2"} <= set(hub.tags)
    routed = {result.dataset_type: result.metric_value for result in hub.eval_results}
    assert routed == {dataset_name(column): cell["value"] for column, cell in found["matrix"]["route"].items()}
    assert "**This folder is not a checkpoint.**" in card
    assert "pip install cogen-core==" in card
    assert f"{found['matrix']['route']['e1/heldout']['value']:.3f}" in card
    assert "| e1 | The e1 expert | The tests | cogen-plugin-e1 1.0 | Apache-2.0 |" in card
    assert f"{found['to_own_expert']} of {found['of_experts_documents']} documents" in card
    assert not list(folder.glob("model*"))


def test_fuse_tells_people_the_same(machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The matrix, and which documents went where."""
    assert main(["fuse", *RECIPE, "-o", str(tmp_path / "route")]) == 0
    captured = capsys.readouterr()
    assert "documents by the model that they were routed to" in captured.out
    assert "documents of experts' suites went to the suite's own expert" in captured.out
    assert "it is not a checkpoint" in captured.err


def test_experts_are_measured_where_they_are_needed(
    machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On their own suites, on general text, and where a document goes to them; other cells say so."""
    full = run(capsys, "fuse", *FULL, "-o", str(tmp_path / "full"))
    found = run(capsys, "fuse", *RECIPE, "-o", str(tmp_path / "own"))
    assert list(found["matrix"]) == ["base", "e1", "e2", "route", "oracle"]
    columns = list(full["matrix"]["base"])
    needed = {id: {f"{id}/heldout", "general/heldout"} for id in ("e1", "e2")}
    for column, where in found["routed"].items():
        for id in where.keys() & needed:
            needed[id].add(column)
    for row, cells in found["matrix"].items():
        assert set(cells) == needed.get(row, set(columns))
        assert cells == {column: full["matrix"][row][column] for column in cells}
    missing = {id: [column for column in columns if column not in needed[id]] for id in needed}
    assert found["not_measured"] == {id: names for id, names in missing.items() if names}
    assert full["not_measured"] == {}
    card = (tmp_path / "own" / "README.md").read_text()
    assert ("–: not measured" in card) == bool(found["not_measured"])


def test_the_posterior_ensemble_is_measured_and_answers(
    machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A row of its own beside everything; the folder says so, `eval` gives the row again, `chat` asks all experts."""
    folder = tmp_path / "route"
    found = run(capsys, "fuse", "--ensemble", "posterior", "-o", str(folder))  # no other strategy has the option
    assert list(found["matrix"]) == ["base", "e1", "e2", "route", "posterior", "oracle"]
    assert found["not_measured"] == {}
    row = found["matrix"]["posterior"]
    matrix = Matrix.from_json(json.loads((folder / "matrix.json").read_text()))
    manifest = read_route(folder)
    members = open_members(machine, [machine.expert(id) for id in ("e1", "e2")], manifest.fallback)
    settings = Settings(dtype="bfloat16")
    (bound,) = suites_of(machine.expert("e1"))
    (texts,) = documents_of([bound], tokenizer(), "test", "quick")
    loaded = {id: member.load("bfloat16") for id, member in members.items()}
    for text, (bits, size) in zip(texts.queries, matrix.cells["posterior"][bound.name].per_document, strict=True):
        scores = [token_scores(model, members[id].tokenizer, text, settings) for id, model in loaded.items()]
        assert size == len(text.encode())
        assert bits == pytest.approx(-float(mixed_scores(torch.stack(scores)).sum()) / math.log(2), rel=1e-9)
    document = json.loads((folder / "route.json").read_text())
    assert (document["version"], document["ensemble"]) == (2, "posterior")
    measured = run(capsys, "eval", str(folder))
    assert {f"{r['owner']}/{r['suite']}": r["value"] for r in measured["results"]} == {
        name: pytest.approx(cell["value"]) for name, cell in row.items()
    }
    assert "All its installed experts answer together" in (folder / "README.md").read_text()
    answer = run(capsys, "chat", str(folder), "-p", QUESTION, "--max-tokens", "4")
    assert set(answer) >= {"prompt", "answer"}
    assert "expert" not in answer
    ensemble = PosteriorEnsemble(list(loaded.values()))
    talk = [{"role": "user", "content": QUESTION}]
    text = reply(ensemble, members["e1"].tokenizer, talk, max_new_tokens=4, temperature=0.0, seed=0)
    assert text == answer["answer"]
    sampled = [
        reply(ensemble, members["e1"].tokenizer, talk, max_new_tokens=8, temperature=1.0, seed=seed)
        for seed in (1, 1, 2, 3)
    ]
    assert sampled[0] == sampled[1]
    assert len(set(sampled)) > 1
    # Asked for by name, it is one of the recipe; the former default of a route without one stays version 1.
    run(capsys, "fuse", *RECIPE, "--ensemble", "none", "--level", "none", "-o", str(tmp_path / "single"))
    assert json.loads((tmp_path / "single" / "route.json").read_text())["version"] == 1


def test_an_ensemble_needs_one_tokenizer(strangers: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line and a hint; and other strategies have none."""
    found = run(capsys, "plan", *RECIPE, "--ensemble", "posterior", code=1)
    assert found["error"] == "models with different tokenizers have no ensemble"
    found = run(capsys, "plan", "--strategy", "merge", "--ensemble", "uniform", "e1", code=3)
    assert (found["error"], found["hint"]) == (
        "ensemble is for strategy route, not for a merge",
        "leave it out, or --strategy route",
    )


def test_strangers_are_routed_too(strangers: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Another architecture, tokenizer and no base: no base row, no ensemble, no general text for the oracle."""
    folder = tmp_path / "route"
    found = run(capsys, "fuse", *RECIPE, "-o", str(folder))
    assert list(found["matrix"]) == ["e1", "e2", "route", "oracle"]
    assert found["fallback"] is None
    assert set(found["matrix"]["oracle"]) == {"e1/heldout", "e2/heldout"}
    assert {name for where in found["routed"].values() for name in where} <= {"e1", "e2"}
    # Documents are chosen by one tokenizer, so that all rows stand on the same ones.
    matrix = Matrix.from_json(json.loads((folder / "matrix.json").read_text()))
    assert len({cells["e2/heldout"].documents for cells in matrix.cells.values() if "e2/heldout" in cells}) == 1
    assert {"e2", "route", "oracle"} <= {row for row, cells in matrix.cells.items() if "e2/heldout" in cells}
    against = run(capsys, "eval", str(folder), "--against", "e2")
    assert [result["value"] for result in against["results"]] == [
        pytest.approx(cell["value"]) for cell in found["matrix"]["route"].values()
    ]
    assert main(["chat", str(folder), "-p", "e2test e2train0word1 e2train0word2", "--max-tokens", "2"]) == 0
    assert "e2 answers" in capsys.readouterr().err


def test_level_none_measures_nothing(
    machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No model is loaded; the card says how to measure."""

    def loaded(*_: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("cogen.fusion.route.members.load_model", loaded)
    monkeypatch.setattr("cogen.fusion.route.members.load_expert", loaded)
    found = run(capsys, "fuse", *RECIPE, "--level", "none", "-o", str(tmp_path / "route"))
    assert found["matrix"] is None
    assert not (tmp_path / "route" / "matrix.json").exists()
    assert "Not measured. `cogen eval DIR` measures it." in (tmp_path / "route" / "README.md").read_text()


@pytest.fixture
def folder(machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    """A route that was not measured."""
    run(capsys, "fuse", *RECIPE, "--level", "none", "-o", str(tmp_path / "route"))
    return tmp_path / "route"


def test_eval_gives_the_row_of_fuse(machine: Any, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """On all suites or some, and against any other model; a model runs only where it gets a document."""
    fused = run(capsys, "fuse", *RECIPE, "-o", str(folder))
    found = run(capsys, "eval", str(folder), "--against", "base")
    row = fused["matrix"]["route"]
    assert {f"{r['owner']}/{r['suite']}": r["value"] for r in found["results"]} == {
        n: c["value"] for n, c in row.items()
    }
    assert found["routed"] == fused["routed"]
    assert [c["difference"] for c in found["comparisons"]] == [
        pytest.approx(row[name]["value"] - fused["matrix"]["base"][name]["value"]) for name in row
    ]
    some = run(capsys, "eval", str(folder), "--suite", "e2", "--part", "dev", "--fresh")
    assert [(r["owner"], r["part"]) for r in some["results"]] == [("e2", "dev")]
    assert run(capsys, "eval", "base", "--against", str(folder))["baseline"][0]["value"] == found["results"][0]["value"]
    assert main(["eval", str(folder)]) == 0
    assert "documents by the model that they were routed to" in capsys.readouterr().out


def test_chat_says_who_answers(machine: Any, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """On stderr with the score; the JSON has the expert and all scores, and the answer is that of the expert alone."""
    found = run(capsys, "chat", str(folder), "-p", QUESTION, "--max-tokens", "4")
    assert found["expert"] == "e1"
    assert set(found["scores"]) == {"base", "e1", "e2"}
    assert max(found["scores"], key=lambda id: found["scores"][id]) == "e1"
    assert found["answer"] == run(capsys, "chat", "e1", "-p", QUESTION, "--max-tokens", "4")["answer"]
    assert main(["chat", str(folder), "-p", QUESTION, "--max-tokens", "1"]) == 0
    output = capsys.readouterr().err
    assert (
        f"e1 answers: it is {found['scores']['e1']:.3f} nearer to the question than general text is; next e2" in output
    )
    assert main(["chat", str(folder), "-p", "The house stood at the end of the road.", "--max-tokens", "1"]) == 0
    assert "base answers: the question is nearer to general text than to any expert" in capsys.readouterr().err


def test_a_conversation_is_routed_anew_with_its_whole_history(
    machine: Any, capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question by itself; the expert sees all turns; one model is in memory, and stays while it is asked again."""
    loads: list[str] = []
    alive: list[weakref.ref[Any]] = []
    seen: list[int] = []

    def load(host: Any, spec: Any, checkpoint: Any, dtype: str) -> Any:
        gc.collect()
        assert [ref for ref in alive if ref() is not None] == []
        loads.append(spec.id)
        model = load_model(checkpoint, dtype)
        alive.append(weakref.ref(model))
        return model

    def reply(model: Any, own: Any, talk: list[dict[str, str]], **_: Any) -> str:
        seen.append(len(talk))
        return "so"

    questions = iter([QUESTION, QUESTION, QUESTION.replace("e1", "e2"), ""])
    monkeypatch.setattr("cogen.fusion.route.members.load_expert", load)
    monkeypatch.setattr("cogen.api.chat.reply", reply)
    monkeypatch.setattr("builtins.input", lambda _: next(questions))
    assert main(["chat", str(folder)]) == 0
    assert loads == ["e1", "e2"]
    assert seen == [1, 3, 5]
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines() if "answers" in line] == ["e1", "e1", "e2"]


@pytest.mark.parametrize("verb", [["chat", "DIR", "-p", "hello"], ["eval", "DIR"]])
def test_an_expert_that_moved_is_refused(
    machine: Any, world: Any, capsys: pytest.CaptureFixture[str], folder: Path, verb: list[str]
) -> None:
    """Exit code 2, before a model is loaded."""
    machine.found["e2"] = world.expert("e2", 2, title="Another title")
    found = run(capsys, *(str(folder) if part == "DIR" else part for part in verb), code=2)
    assert "the spec digest of e2 (cogen-plugin-e2 1.0) is no longer that of the route" in found["error"]
    assert "build the route again" in found["hint"]


def test_a_senseless_wish_is_wrong_usage(machine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line and a hint, in a recipe file too; nothing is written."""
    found = run(capsys, "fuse", *RECIPE, "--method", "ties", "-o", str(tmp_path / "no"), code=3)
    assert found["error"] == "strategy route fuses nothing, so it has no method"
    (tmp_path / "r.toml").write_text('strategy = "route"\nlevel = "none"\n[experts]\ne1 = 1\n')
    run(capsys, "fuse", "--recipe", str(tmp_path / "r.toml"), "-o", str(tmp_path / "yes"))
    assert [expert.id for expert in read_route(tmp_path / "yes").experts] == ["e1"]
    assert not (tmp_path / "no").exists()

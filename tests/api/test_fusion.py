"""cogen.plan, cogen.fuse and cogen.update: their results, equal to those of the command line, and silent."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import cogen
from cogen.cli.main import main
from cogen.errors import PlanError, UsageError


class Recorder:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.notes: list[str] = []
        self.totals: list[float | None] = []
        self.done = 0.0

    def begin(self, label: str, total: float | None, unit: str) -> None:
        self.labels.append(label)
        self.totals.append(total)
        self.done = 0.0

    def describe(self, label: str) -> None:
        self.labels.append(label)

    def advance(self, n: float = 1) -> None:
        self.done += n

    def note(self, text: str) -> None:
        self.notes.append(text)


def bits(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def cli(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_is_that_of_the_command_line(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same digest for the same options; nothing is printed."""
    plan = cogen.plan({"power": 0.5, "energy": 1}, method="ties", scale=[0.3, 0.6], parameters={"density": 0.4})
    assert capsys.readouterr().out == ""
    assert isinstance(plan, cogen.Plan)
    assert (plan.strategy, plan.method, plan.scales) == ("merge", "ties", (0.3, 0.6))
    assert {e.id: e.weight for e in plan.experts} == {"power": 0.5, "energy": 1.0}
    options = ["--method", "ties", "--scale", 0.3, "--scale", 0.6, "--set", "density=0.4"]
    assert cli(capsys, "plan", "power=0.5", "energy", *options)["digest"] == plan.digest


def test_every_strategy_plans(stranger: Path, small_distillation: dict[str, Any]) -> None:
    """One function, whatever the strategy; the result says which."""
    pair = ["power", "energy"]
    assert cogen.plan(pair).strategy == "merge"
    assert cogen.plan(pair, routing="hidden").strategy == "moe"
    assert cogen.plan(recipe={"distill": small_distillation}).strategy == "distill"
    assert cogen.plan(strategy="route").strategy == "route"


def test_a_composite(experts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Folder, lock, plan, matrix and report; the bits of the command line; nothing on stdout."""
    capfd.readouterr()
    reporter, plans = Recorder(), []
    composite = cogen.fuse(output=tmp_path / "out", scale=0.5, reporter=reporter, on_plan=plans.append)
    assert capfd.readouterr().out == ""
    assert (composite.folder, composite.strategy, composite.experts) == (tmp_path / "out", "merge", ("energy", "power"))
    assert composite.plan == plans[0] == composite.lock.plan
    assert set(composite.matrix.rows) == {"base", "power", "energy", "composite"}
    assert composite.report.read_text(encoding="utf-8").startswith("<!")
    assert composite.outcome.seconds.keys() >= {"merge", "measure"}
    assert reporter.totals == [composite.plan.cost.forward_tokens]
    assert reporter.done == composite.plan.cost.forward_tokens
    assert main(["fuse", "--scale", "0.5", "--level", "none", "-o", str(tmp_path / "cli")]) == 0
    assert bits(tmp_path / "cli") == bits(composite.folder)


def test_the_json_of_the_command_line_has_the_same_figures(
    experts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Matrix, digests and settings."""
    composite = cogen.fuse(["power"], tmp_path / "out", scale=0.5)
    found = cli(capsys, "fuse", "power", "--scale", 0.5, "-o", tmp_path / "cli")
    assert found["weights_digest"] == composite.lock.weights_digest
    assert found["plan_digest"] == composite.plan.digest
    assert {row: {name: cell["value"] for name, cell in cells.items()} for row, cells in found["matrix"].items()} == {
        row: {name: cell.value for name, cell in cells.items()} for row, cells in composite.matrix.cells.items()
    }


def test_an_earlier_composite_is_opened(experts: Path, tmp_path: Path) -> None:
    """From its folder: plan, lock and the figures of its matrix."""
    made = cogen.fuse(output=tmp_path / "out", scale=0.5)
    found = cogen.Composite.open(tmp_path / "out")
    assert (found.plan, found.lock, found.report, found.strategy) == (made.plan, made.lock, made.report, "merge")
    assert (
        found.matrix.cells["composite"]["power/heldout"].value == made.matrix.cells["composite"]["power/heldout"].value
    )
    with pytest.raises(UsageError, match="is not a composite"):
        cogen.Composite.open(experts)


def test_plans_and_locks_are_built_again(experts: Path, tmp_path: Path) -> None:
    """As objects or as files; with nothing beside them."""
    plan = cogen.plan(scale=[0.3, 0.6])
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    first = cogen.fuse(output=tmp_path / "1", plan=plan)
    second = cogen.fuse(output=tmp_path / "2", plan=tmp_path / "plan.json")
    third = cogen.fuse(output=tmp_path / "3", lock=first.lock)
    fourth = cogen.fuse(output=tmp_path / "4", lock=first.folder, level="none")
    assert first.plan == second.plan == plan
    assert len({bits(one.folder) for one in (first, second, third, fourth)}) == 1
    assert len(first.outcome.trials) == len(third.outcome.trials) == 2
    assert (third.matrix, fourth.matrix) == (first.matrix, None)
    for wrong in ({"scale": 0.5}, {"experts": ["power"]}, {"recipe": {"method": "ties"}}, {"lock": first.lock}):
        with pytest.raises(UsageError, match="leaves nothing else to choose"):
            cogen.fuse(output=tmp_path / "5", plan=plan, **wrong)


def test_a_lock_that_no_longer_holds(experts: Path, tmp_path: Path) -> None:
    """What was locked is compared with what is installed, before anything is built."""
    lock = cogen.fuse(output=tmp_path / "1", scale=0.5, level="none").lock
    moved = lock.model_copy(update={"plan": lock.plan.model_copy(update={"tokenizer_digest": "sha256:" + "0" * 64})})
    with pytest.raises(PlanError, match="the lock no longer holds: the tokenizer has another digest"):
        cogen.fuse(output=tmp_path / "2", lock=moved)
    assert not (tmp_path / "2").exists()


def test_a_mixture_is_updated(experts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without an expert and with it again: the bits of before; what was kept is in the result and in a note."""
    whole = cogen.fuse(output=tmp_path / "all", routing="hidden", level="none")
    capfd.readouterr()
    reporter = Recorder()
    less = cogen.update(whole, tmp_path / "less", remove=["energy"], reporter=reporter)
    again = less.update(tmp_path / "again", add="energy")
    assert capfd.readouterr().out == ""
    assert (less.experts, again.experts) == (("power",), ("energy", "power"))
    assert less.reused == "kept as they are: power; nothing is made anew"
    assert less.reused in reporter.notes
    assert bits(again.folder) == bits(whole.folder)
    with pytest.raises(UsageError, match="nothing to update"):
        cogen.update(whole, tmp_path / "no")


def test_the_plan_of_a_route_keeps_its_former_keys(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plans of version 1 had what is in ``details`` now beside the rest; readers of ``--json`` still find it there."""
    assert main(["plan", "--strategy", "route", "--json", "--level", "none"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"embedder", "fallback", "ensemble"} <= set(found)
    assert {name: found[name] for name in found["details"]} == found["details"]
    assert main(["plan", "--json", "--level", "none", "--scale", "0.5"]) == 0
    assert {"mixture", "distillation"} <= set(json.loads(capsys.readouterr().out))


def test_a_route(experts: Path, tmp_path: Path) -> None:
    """No lock and no report; its manifest and its matrix, also from its folder."""
    route = cogen.fuse(output=tmp_path / "route", strategy="route")
    assert (route.lock, route.report, route.experts) == (None, None, ("energy", "power"))
    found = cogen.Composite.open(tmp_path / "route")
    assert (found.strategy, found.manifest, found.plan) == ("route", route.manifest, None)
    assert found.matrix == route.matrix
    with pytest.raises(UsageError, match="strategy route writes no model"):
        route.load()
    with pytest.raises(UsageError, match="a plan of strategy route cannot be built"):
        cogen.fuse(output=tmp_path / "again", plan=route.plan)


def test_a_distillation(stranger: Path, tmp_path: Path, small_distillation: dict[str, Any]) -> None:
    """Student and teachers; the control stands in the matrix."""
    found = cogen.fuse(output=tmp_path / "out", recipe={"distill": small_distillation}, student="power")
    assert found.strategy == "distill"
    assert set(found.matrix.rows) == {"base", "power", "energy", "law", "control", "composite"}


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"strategy": "foo"}, "unknown strategy 'foo'; one of merge, moe, distill, route, auto", "choose one of them"),
        ({"strategy": "mo"}, "unknown strategy 'mo'", "did you mean 'moe'?"),
        ({"level": "fast"}, "unknown level 'fast'; one of quick, full, none", ""),
        ({"routing": "Hidden"}, "unknown routing 'Hidden'", "did you mean 'hidden'?"),
        ({"transplant": "x"}, "unknown transplant 'x'; one of mean, subword, omp", ""),
        ({"methd": "ties"}, "unknown option 'methd'", "did you mean 'method'?"),
        ({"method": "tie"}, "unknown merge method 'tie'", "did you mean 'ties'? one of arcee_fusion"),
        ({"top_k": 0}, "top_k: Input should be greater than or equal to 1", "--help"),
        ({"recipe": {"strategy": "foo"}}, "unknown strategy 'foo'; one of merge, moe, distill, route, auto", ""),
        ({"recipe": {"distill": {"mix": "x"}}}, "unknown distill.mix 'x'; one of static, best", ""),
        ({"experts": ["powr"]}, "no expert 'powr' is installed", "did you mean 'power'?"),
    ],
)
def test_mistakes(experts: Path, tmp_path: Path, options: dict[str, Any], message: str, hint: str) -> None:
    """Always a CogenError with a hint, never an exit, and nothing is written."""
    for function, more in ((cogen.plan, {}), (cogen.fuse, {"output": tmp_path / "out"})):
        with pytest.raises(UsageError) as caught:
            function(**options, **more)
        assert message in caught.value.message
        assert hint in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_on_plan_can_stop_a_run(experts: Path, tmp_path: Path) -> None:
    """What it raises comes out, and nothing is written."""

    def too_expensive(plan: Any) -> None:
        raise ValueError(plan.cost.forward_tokens)

    with pytest.raises(ValueError, match=r"^\d+$"):
        cogen.fuse(output=tmp_path / "out", on_plan=too_expensive)
    assert not (tmp_path / "out").exists()


def test_two_threads_of_a_service(experts: Path, tmp_path: Path) -> None:
    """One host, two runs at the same time: each has the bits that it has alone."""
    host = cogen.Host.discover()
    alone = {s: bits(cogen.fuse(output=tmp_path / f"a{s}", scale=s, level="none").folder) for s in (0.3, 0.6)}
    found: dict[float, str] = {}

    def work(scale: float) -> None:
        made = cogen.fuse(output=tmp_path / f"b{scale}", scale=scale, level="none", host=host)
        found[scale] = bits(made.folder)

    threads = [threading.Thread(target=work, args=(scale,)) for scale in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_plugins_are_informed(experts: Path, site: Path, tmp_path: Path) -> None:
    """The hook cogen_progress gets the same events from Python as from the command line."""
    from support.manifests import install

    init = """
import cogen
seen = []
@cogen.hookimpl
def cogen_progress(event):
    seen.append((event.stage, event.label))
"""
    install(site, "watch", init=init, toml=None)
    cogen.fuse(["power"], tmp_path / "out", scale=0.5, level="none")
    import cogen_plugin_watch  # type: ignore[import-not-found]

    assert cogen_plugin_watch.seen[0] == ("fuse", "fusing")
    assert ("fuse", "writing the composite") in cogen_plugin_watch.seen

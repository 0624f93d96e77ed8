"""``docs/plugins.md``: every hook has a section with one complete example, and each example runs as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.manifests import files, install, manifest
from support.runs import carry_out
from support.sites import site
from support.tiny import save_model, tokenizer

from cogen.errors import CogenError, CompatibilityError, UsageError
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host, ProgressEvent, hookspecs
from cogen.runs.prepare import prepare
from cogen.runs.replay import prepare_plan, prepare_replay

__all__ = ["site"]

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
PACKAGE = "cogen_plugin_lab"


def sections() -> dict[str, dict[str, str]]:
    """Hook → file name → text of its example."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        blocks = re.findall(rf"```python\n# {PACKAGE}/(\S+)\n(.*?)```", section, flags=re.S)
        for hook in re.findall(r"^`(cogen_\w+)\(", section, flags=re.M):
            found[hook] = dict(blocks)
    return found


def test_every_hook_has_an_example() -> None:
    """In which it is implemented, and which imports nothing heavy where it is registered."""
    hooks = {name for name in vars(hookspecs) if name.startswith("cogen_")}
    assert set(sections()) == hooks
    for hook, texts in sections().items():
        assert f"@cogen.hookimpl\ndef {hook}(" in texts["__init__.py"]
        assert not re.search(r"^(import|from) (torch|transformers)", texts["__init__.py"], flags=re.M)
        assert f"`{hook}`](#" in PAGE.read_text(encoding="utf-8")


@pytest.fixture
def lab(site: Path) -> Any:
    """``lab(hook)``: the example of this hook, installed; the package's folder."""

    def installed(hook: str, **changes: Any) -> Path:
        texts = sections()[hook]
        folder = install(site, "lab", init=texts["__init__.py"], **changes)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return installed


@pytest.fixture
def machine(world: Any, host: Any) -> Any:
    """Experts e1 and e2 as if they were installed, and the code of the plugins that are."""

    def found() -> Any:
        made = host(world.expert("e1", 1), world.expert("e2", 2))
        made._plugins = list(Host.discover().plugins)
        return made

    return found


def test_a_method(lab: Any, machine: Any, tmp_path: Path) -> None:
    """Is known by its name, takes a scale, and the median of two differences is the lower one."""
    lab("cogen_fusion_methods")
    outcome = carry_out(machine(), FuseRecipe(method="median", scale=0.5, level="none"), tmp_path / "out")
    assert (outcome.plan.method, outcome.scale) == ("median", 0.5)
    with pytest.raises(UsageError, match="density"):
        prepare(machine(), FuseRecipe(method="median", scale=0.5, parameters={"density": 0.1}, level="none"))


def test_a_strategy(lab: Any, machine: Any, tmp_path: Path, world: Any) -> None:
    """Plans, searches, builds, writes lock, card and report, and is replayed from plan and lock to the same bits."""
    lab("cogen_fusion_strategies")
    outcome = carry_out(machine(), FuseRecipe(strategy="champion"), tmp_path / "out")
    assert outcome.plan.details.values == {"criterion": "bits per byte"}
    assert len(outcome.trials) == 2
    assert sorted(outcome.parameters.values()) == [0.0, 1.0]
    best = min(outcome.trials, key=lambda trial: trial.objective)
    assert best.parameters == outcome.parameters
    assert "Strategy champion" in (tmp_path / "out" / "README.md").read_text()
    assert "strategy champion" in (tmp_path / "out" / "report.html").read_text()
    lock = outcome.lock
    replayed = prepare_replay(machine(), lock, "the lock", level="none")
    from cogen.artifacts.lock import read_lock
    from cogen.runs.execute import execute

    assert read_lock(tmp_path / "out").plan == outcome.plan
    again = execute(replayed, tmp_path / "again", replay=lock)
    assert again.lock is not None
    assert again.lock.weights_digest == lock.weights_digest
    assert prepare_plan(machine(), outcome.plan, "the plan").plan == outcome.plan
    assert prepare(machine(), FuseRecipe(scale=0.5, level="none")).strategy.name == "merge"
    with pytest.raises(UsageError, match="unknown strategy 'foo'; one of merge, moe, distill, route, champion, auto"):
        prepare(machine(), FuseRecipe(strategy="foo"))


def test_without_its_plugin_a_plan_is_refused(lab: Any, machine: Any, host: Any, tmp_path: Path) -> None:
    """By the name of the strategy, not by a traceback."""
    lab("cogen_fusion_strategies")
    plan = prepare(machine(), FuseRecipe(strategy="champion")).plan
    with pytest.raises(UsageError, match="unknown strategy 'champion'"):
        prepare_plan(host(), plan, "the plan")


def test_a_loss(lab: Any, machine: Any, tmp_path: Path) -> None:
    """Trains a student alone and joined with a built-in one; its parameter decides what the teacher's cache holds."""
    lab("cogen_distillation_losses")
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"the power grid and the river {i}"}) + "\n" for i in range(6)))
    small = {"groups": "apart", "pivot": "e1", "tokens": 120, "tokens_a_step": 64, "rank": 2, "alpha": 4, "threads": 1}
    common = {"strategy": "auto", "level": "none", "distill": small | {"texts": (str(texts),)}}
    bits = {}
    for name, parameters in (("alm", {}), ("reverse_kl", {}), ("reverse_kl", {"k": 4}), ("alm+reverse_kl", {})):
        recipe = FuseRecipe.model_validate(common | {"method": name, "parameters": parameters})
        outcome = carry_out(machine(), recipe, tmp_path / f"{name}{len(bits)}")
        assert (outcome.plan.strategy, outcome.plan.method) == ("distill", name)
        bits[name, str(parameters)] = outcome.lock.weights_digest
    assert len(set(bits.values())) == 4
    for wrong, message in (({"k": True}, "must be a number"), ({"tau": 1.0}, "has no parameter 'tau'")):
        with pytest.raises(UsageError, match=message):
            prepare(machine(), FuseRecipe.model_validate(common | {"method": "reverse_kl", "parameters": wrong}))


def test_a_method_that_is_a_plugins_loss_asks_for_a_distillation(lab: Any, machine: Any) -> None:
    """As the built-in losses do."""
    lab("cogen_distillation_losses")
    found = prepare(machine(), FuseRecipe.model_validate({"method": "reverse_kl", "distill": {"groups": "apart"}}))
    assert found.strategy.name == "distill"


def test_a_strategy_that_cannot_be_loaded(site: Path, machine: Any) -> None:
    """The plugin's mistake, in one line, for whoever names it; all others go on."""
    text = """
import cogen

@cogen.hookimpl
def cogen_fusion_strategies(register):
    register("odd", "os:sep")
    register("gone", "cogen_plugin_odd.gone:GONE")
"""
    install(site, "odd", init=text)
    with pytest.raises(CogenError, match="os:sep is not a cogen strategy named 'odd'") as caught:
        prepare(machine(), FuseRecipe(strategy="odd"))
    assert "cogen.fusion.strategy.Strategy" in (caught.value.hint or "")
    with pytest.raises(CogenError, match=r"'cogen_plugin_odd\.gone:GONE' cannot be loaded"):
        prepare(machine(), FuseRecipe(strategy="gone"))
    for strategy in ("auto", "merge"):
        found = prepare(machine(), FuseRecipe(strategy=strategy, scale=0.5, level="none"))
        assert found.strategy.name == "merge"


def test_what_is_no_loss(site: Path, machine: Any) -> None:
    """A distillation names it, as it would silently lack a loss otherwise; a merge does not look at it."""
    text = "import cogen\n@cogen.hookimpl\ndef cogen_distillation_losses(register): register('odd', 'os:sep')\n"
    install(site, "odd", init=text)
    with pytest.raises(CogenError, match="os:sep is not a cogen PluginLoss"):
        prepare(machine(), FuseRecipe.model_validate({"method": "odd", "distill": {"groups": "apart"}}))
    assert prepare(machine(), FuseRecipe(scale=0.5, level="none")).strategy.name == "merge"


def test_a_source(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights come from it; what is not there is one line with a hint."""
    from cogen.checkpoints.sources import fetch

    lab("cogen_sources")
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "weights.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("LAB_VAULT", str(tmp_path / "vault"))
    assert fetch("vault://weights.safetensors").read_bytes() == b"weights"
    with pytest.raises(CogenError, match="is not in the vault") as caught:
        fetch("vault://nothing")
    assert caught.value.hint


def test_computed_experts(lab: Any) -> None:
    """One for each manifest in the folder."""
    folder = lab("cogen_experts", toml=None) / "experts"
    folder.mkdir()
    (folder / "solar.json").write_text(json.dumps(manifest("solar"), default=str))
    assert [expert.id for expert in Host.discover().experts(computed=True)] == ["solar"]


def test_a_model_and_a_tokenizer(lab: Any, site: Path) -> None:
    """Of the plugin's own expert; others are left to CoGen."""
    folder = lab("cogen_load_model")
    save_model(folder / "checkpoint")
    expert = Host.discover().expert("lab")
    hooks = Host.discover().hooks
    model = hooks.first("cogen_load_model", spec=expert.spec, device="cpu", dtype="float32")
    assert (type(model).__name__, model.training, str(model.dtype)) == ("LlamaForCausalLM", False, "torch.float32")
    other = expert.spec.model_copy(update={"id": "other"})
    assert hooks.first("cogen_load_model", spec=other, device="cpu", dtype="float32") is None


def test_a_tokenizer(lab: Any) -> None:
    """The file beside the code."""
    folder = lab("cogen_load_tokenizer")
    own = tokenizer()
    own.backend_tokenizer.save(str(folder / "tokenizer.json"))
    spec = Host.discover().expert("lab").spec
    found = Host.discover().hooks.first("cogen_load_tokenizer", spec=spec)
    assert found("the power grid")["input_ids"] == own("the power grid")["input_ids"]


def test_suites(lab: Any) -> None:
    """Bound to the expert, with their files in the plugin's package."""
    from cogen.evals.bound import hook_suites

    folder = lab("cogen_eval_suites")
    (folder / "suites.json").write_text(json.dumps(manifest("lab")["suites"], default=str))
    host = Host.discover()
    (found,) = hook_suites(host, host.expert("lab"))
    assert (found.owner, found.root) == ("lab", folder)
    assert found.suite.dev.path in files("lab")


def test_a_review(lab: Any, world: Any, host: Any) -> None:
    """A veto stops every strategy; a warning stands in the plan."""
    lab("cogen_review_plan")

    def machine(license: str) -> Any:
        made = host(world.expert("e1", 1), world.expert("e2", 2, license=license))
        made._plugins = list(Host.discover().plugins)
        return made

    recipe = FuseRecipe(scale=0.5, level="none")
    with pytest.raises(CompatibilityError, match="vetoes this plan: e2 is for non-commercial use only") as caught:
        prepare(machine("CC-BY-NC-4.0"), recipe)
    assert caught.value.hint == "leave e2 out"
    notes = prepare(machine("unknown"), recipe).plan.notes
    assert ("warn", "nobody knows the license of e2") in [(note.severity, note.message) for note in notes]


def test_a_command(lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A verb beside the built-in ones."""
    from cogen.cli.main import main

    lab("cogen_commands")
    assert main(["lab-experts"]) == 0
    assert capsys.readouterr().out == "lab\n"


def test_progress(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line an event."""
    lab("cogen_progress")
    monkeypatch.setenv("LAB_LOG", str(tmp_path / "log.jsonl"))
    Host.discover().hooks.tell(ProgressEvent("fuse", "writing", 1.0, 2.0))
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {"stage": "fuse", "label": "writing", "done": 1.0, "total": 2.0}

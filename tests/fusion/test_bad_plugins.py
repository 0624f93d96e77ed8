"""Strategies and losses of plugins that are wrong: one line for whoever names them, and all others keep working."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install
from support.sites import site

from cogen.errors import CogenError, MissingExtraError, PluginError
from cogen.extras import EXTRAS
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host
from cogen.reporter import Silent
from cogen.runs.execute import execute
from cogen.runs.prepare import prepare

__all__ = ["site"]

HEAD = "import cogen\n\n@cogen.hookimpl\ndef cogen_fusion_strategies(register):\n"
LOSSES = "import cogen\n\n@cogen.hookimpl\ndef cogen_distillation_losses(register):\n"
STRATEGY = """
from cogen.fusion.merge.strategy import MERGE
from cogen.fusion.strategy import Fit

class Odd(type(MERGE)):
    name = "odd"
    title = "wrong"
    options = frozenset()

    def fit(self, host, chosen, recipe):
        return Fit.NO

    def plan(self, host, recipe, reporter):
        plan, inputs = super().plan(host, recipe.model_copy(update={"strategy": "merge"}), reporter)
        return plan, inputs

"""


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def machine(world: Any, host: Any) -> Any:
    """Two experts of one base, and whatever plugins were installed meanwhile."""

    def make() -> Host:
        made = host(world.expert("e1", 1), world.expert("e2", 2))
        made._plugins = list(Host.discover().plugins)
        return made  # type: ignore[no-any-return]

    return make


def odd(site: Path, code: str, register: str = 'register("odd", "cogen_plugin_odd.odd:ODD")') -> None:
    folder = install(site, "odd", init=f"{HEAD}    {register}\n")
    (folder / "odd.py").write_text(code)


SIMPLE = FuseRecipe(scale=0.5, level="none")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('gone')", "SystemExit: gone"),
        ("def f(:", "invalid syntax"),
        ("import no_such_module_x", "No module named 'no_such_module_x'"),
        ("from cogen.fusion.strategy import Strategy\nclass Odd(Strategy): name = 'odd'\nODD = Odd()", "abstract"),
        ("from cogen.fusion.strategy import Strategy\nODD = Strategy", "is not a cogen strategy named 'odd'"),
    ],
)
def test_a_module_that_fails(site: Path, machine: Any, code: str, message: str) -> None:
    odd(site, code)
    with pytest.raises(PluginError, match=message) as caught:
        prepare(machine(), FuseRecipe(strategy="odd"))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    reporter = Notes()
    assert prepare(machine(), SIMPLE, reporter=reporter).strategy.name == "merge"
    (note,) = [note for note in reporter.notes if "odd" in note]
    assert note == f"strategy odd of a plugin is left out: {caught.value.message}"


@pytest.mark.parametrize("body", ["return 1 / 0", "return 'no Fit'", "return None", "raise cogen.CogenError('mine')"])
def test_fit_that_fails_is_left_out_with_a_note(site: Path, machine: Any, body: str) -> None:
    """The choice is among the others, and says so."""
    odd(site, f"import cogen\n{STRATEGY}\n    def fit(self, host, chosen, recipe):\n        {body}\n\nODD = Odd()\n")
    reporter = Notes()
    assert prepare(machine(), SIMPLE, reporter=reporter).strategy.name == "merge"
    (note,) = [note for note in reporter.notes if "odd" in note]
    assert note.startswith("strategy odd of a plugin is left out: its fit() failed: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 / 0", r"strategy odd failed in {}\(\): ZeroDivisionError: division by zero \(odd\.py:\d+\)$"),
        ("raise cogen.CogenError('mine', hint='do')", "^mine$"),
    ],
)
@pytest.mark.parametrize("method", ["plan", "build", "measure"])
def test_a_method_that_fails(site: Path, machine: Any, tmp_path: Path, method: str, line: str, message: str) -> None:
    """The plugin's mistake, not a bug of cogen; what it raises for users stays as it is."""
    odd(site, f"import cogen\n{STRATEGY}\n    def {method}(self, *a):\n        {line}\n\nODD = Odd()\n")
    with pytest.raises(CogenError, match=message.format(method)) as caught:
        execute(prepare(machine(), FuseRecipe(strategy="odd", scale=0.5, level="none")), tmp_path / "out")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_the_name_of_a_built_in_strategy(site: Path, machine: Any) -> None:
    odd(site, "ODD = 1", 'register("moe", "cogen_plugin_odd.odd:ODD")')
    host = machine()
    assert prepare(host, SIMPLE).strategy.name == "merge"
    assert host.strategies()["moe"] == "cogen.fusion.moe.strategy:MOE"
    (plugin,) = [plugin for plugin in host.plugins if plugin.name == "odd"]
    assert "registers 'moe', which cogen-core has already" in plugin.reason


def test_auto_is_no_name(site: Path, machine: Any) -> None:
    """It stands for the choice, so a strategy of that name could never be asked for."""
    odd(site, "ODD = 1", 'register("auto", "cogen_plugin_odd.odd:ODD")')
    host = machine()
    assert list(host.strategies()) == ["merge", "moe", "distill", "route"]
    (plugin,) = [plugin for plugin in host.plugins if plugin.name == "odd"]
    assert "registers 'auto', which cogen-core has already" in plugin.reason


@pytest.mark.parametrize("name", ["alm", "dpo"])
def test_the_name_of_a_built_in_loss(site: Path, machine: Any, name: str) -> None:
    """The built-in loss goes on; the plugin is broken, and says why."""
    install(site, "odd", init=f"{LOSSES}    register({name!r}, 'os:sep')\n")
    host = machine()
    assert host.losses() == {}
    (plugin,) = [plugin for plugin in host.plugins if plugin.name == "odd"]
    assert f"registers {name!r}, which cogen-core has already" in plugin.reason


def test_the_host_knows_the_losses() -> None:
    """Without importing them."""
    from cogen.fusion.distill.losses.names import known
    from cogen.host.builtin import LOSSES

    assert set(LOSSES) == set(known())


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("LOSS = 5", "is not a cogen PluginLoss"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_losses(site: Path, machine: Any, code: str, message: str) -> None:
    folder = install(site, "odd", init=f"{LOSSES}    register('odd', 'cogen_plugin_odd.odd:LOSS')\n")
    (folder / "odd.py").write_text(code)
    with pytest.raises(PluginError, match=message):
        prepare(machine(), FuseRecipe.model_validate({"method": "odd", "distill": {"groups": "apart"}}))
    assert prepare(machine(), SIMPLE).strategy.name == "merge"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cogen.fusion.merge.method", "cogen.merging.method"),
        ("cogen.fusion.merge.parameters", "cogen.merging.parameters"),
        ("cogen.fusion.vocabulary.plan", "cogen.merging.vocabulary"),
        ("cogen.fusion.adapters", "cogen.merging.lora"),
        ("cogen.fusion.mergekit", "cogen.merging.mergekit"),
    ],
)
def test_a_plugin_that_imports_a_former_module(site: Path, old: str, new: str) -> None:
    """It reads what the module is called now; the module is there."""
    head = HEAD.replace("strategies", "methods")
    init = f"{head}    register('odd', 'cogen_plugin_odd.odd:odd')\n"
    (install(site, "odd", init=init) / "odd.py").write_text(f"import {old}\n")
    host = Host.discover()
    with pytest.raises(PluginError, match=f"No module named '{old.rpartition('.')[0]}") as caught:
        find_method(host, "odd")
    assert f"is {new} now" in (caught.value.hint or "")
    assert importlib.import_module(new)


def test_a_strategy_that_needs_a_missing_extra(site: Path, machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops whoever names it, and nobody else."""
    monkeypatch.setitem(EXTRAS, "s3", ("cogen_has_no_such_module",))
    odd(site, "import cogen_has_no_such_module")
    with pytest.raises(MissingExtraError, match="ODD needs cogen_has_no_such_module"):
        prepare(machine(), FuseRecipe(strategy="odd"))
    assert prepare(machine(), SIMPLE).strategy.name == "merge"

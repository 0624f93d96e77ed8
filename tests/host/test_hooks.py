"""Plugins with code: loaded one by one, and each failure is the failure of one plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import install

from cogen.errors import PluginError
from cogen.host import Diagnostic, Host, ProgressEvent
from cogen.host.builtin import METHODS
from cogen.host.probe import probe

GOOD = """
import cogen

@cogen.hookimpl
def cogen_sources(register):
    register("oci", "cogen_plugin_good.fetch:fetch")

@cogen.hookimpl
def cogen_fusion_methods(register):
    register("mean", "statistics:mean")
"""


def test_builtins_register_through_the_same_hooks(site: Path) -> None:
    """The four schemes and the merge methods of the host, with no plugin installed; each name leads to its method."""
    host = Host.discover()
    assert list(host.sources()) == ["file", "hf", "package", "pypi"]
    assert sorted(host.methods()) == sorted(METHODS)
    assert host.sources()["hf"] == "cogen.checkpoints.sources.hf:fetch"
    pytest.importorskip("torch")
    assert all(Host.resolve(target).name == name for name, target in host.methods().items())


def test_plugin_adds_sources_and_methods(site: Path) -> None:
    """Lazy strings: what they name is imported by resolve() alone."""
    install(site, "good", init=GOOD, toml=None)
    host = Host.discover()
    assert host.plugins[0].expert is None
    assert host.sources()["oci"] == "cogen_plugin_good.fetch:fetch"
    assert host.resolve(host.methods()["mean"])([1, 3]) == 2
    with pytest.raises(PluginError, match="cannot be loaded"):
        host.resolve(host.sources()["oci"])


def test_strategies_and_losses_are_registered_as_methods_are(site: Path) -> None:
    """cogen_fusion_strategies, cogen_distillation_losses: built-in ones first, in their order; no name twice."""
    init = """
import cogen

@cogen.hookimpl
def cogen_fusion_strategies(register):
    register("champion", "cogen_plugin_{id}.champion:CHAMPION")

@cogen.hookimpl
def cogen_distillation_losses(register):
    register("squared_{id}", "cogen_plugin_{id}.loss:LOSS")
"""
    assert list(Host.discover().strategies()) == ["merge", "moe", "distill", "route"]
    assert Host.discover().losses() == {}
    install(site, "aa", init=init.replace("{id}", "aa"))
    install(site, "bb", init=init.replace("{id}", "bb"))
    host = Host.discover()
    assert list(host.strategies()) == ["merge", "moe", "distill", "route", "champion"]
    assert host.strategies()["champion"] == "cogen_plugin_aa.champion:CHAMPION"
    assert host.losses() == {"squared_aa": "cogen_plugin_aa.loss:LOSS"}
    first, second = host.plugins
    assert (first.state, second.state) == ("ok", "broken")
    assert "registers 'champion', which cogen-plugin-aa has already" in (second.reason or "")


def test_a_plugin_of_data_alone_adds_neither(site: Path) -> None:
    """Its package is never imported."""
    folder = install(site, "data")
    (folder / "champion.py").write_text("raise SystemExit('it ran')")
    host = Host.discover()
    assert list(host.strategies()) == ["merge", "moe", "distill", "route"]
    assert host.losses() == {}
    assert not host.plugins[0].code


@pytest.mark.parametrize(
    ("init", "reason", "hint"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError", "doctor"),
        ("raise SystemExit(3)", "SystemExit: 3", "doctor"),
        ("1 / 0", "ZeroDivisionError", "doctor"),
        ("def broken(:", "SyntaxError", "doctor"),
        ("import cogen\n@cogen.hookimpl\ndef cogen_sorces(register): ...", "no hook cogen_sorces", "cogen_sources?"),
        ("def cogen_sources(register): ...", "is not marked as a hook", "@cogen.hookimpl"),
        ("import cogen\n@cogen.hookimpl\ndef cogen_sources(add): ...", "argument 'add'", "takes register"),
        ("import cogen\n@cogen.hookimpl(wrapper=True)\ndef cogen_experts(): yield", "hook wrapper", "not supported"),
        (GOOD.replace('"oci"', '"hf"'), "registers 'hf', which cogen-core has already", "doctor"),
        (GOOD.replace(":fetch", ""), "not of the form 'package.module:function'", "doctor"),
        ("import cogen\n@cogen.hookimpl\ndef cogen_sources(register): raise SystemExit", "SystemExit", "doctor"),
    ],
)
def test_bad_code_breaks_one_plugin(site: Path, init: str, reason: str, hint: str) -> None:
    """It turns broken with a reason and a hint when a hook is needed; the others and the built-ins work."""
    install(site, "bad", init=init)
    install(site, "good", init=GOOD)
    host = Host.discover()
    assert [plugin.state for plugin in host.plugins] == ["ok", "ok"]
    assert set(host.sources()) == {"file", "hf", "oci", "package", "pypi"}
    bad, good = host.plugins
    assert bad.state == "broken"
    assert reason in (bad.reason or "")
    assert hint in (bad.hint or "")
    assert good.state == "ok"
    assert [expert.id for expert in host.experts()] == ["good"]


def test_traceback_is_kept_for_the_doctor(site: Path) -> None:
    """Where a plugin's import fails can be seen without running it again."""
    install(site, "bad", init="x = 1\nraise ValueError('deep inside')")
    host = Host.discover()
    assert host.hooks.loaded[0].name == "cogen-core"
    assert "line 2" in (host.plugins[0].traceback or "")
    assert "deep inside" in (host.plugins[0].traceback or "")


def test_keyboard_interrupt_is_not_a_plugin_error(site: Path) -> None:
    """Ctrl-C during an import ends the program."""
    install(site, "bad", init="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        _ = Host.discover().hooks


def test_data_only_package_is_never_imported(site: Path) -> None:
    """An ``__init__.py`` of comments and docstrings is no code: loading hooks leaves it alone."""
    import sys

    install(site, "data", init='"""Only data."""\n# nothing else\n')
    host = Host.discover()
    assert not host.plugins[0].code
    host.sources()
    assert "cogen_plugin_data" not in sys.modules


COMPUTED = """
import cogen, pathlib
from cogen.spec.expert import ExpertSpec
from support.manifests import manifest

@cogen.hookimpl
def cogen_experts():
    yield ExpertSpec.model_validate(manifest("computed"))
"""


def test_experts_computed_in_code(site: Path) -> None:
    """They come on demand only, with the version of the distribution that computes them."""
    install(site, "maker", init=COMPUTED, toml=None)
    host = Host.discover()
    assert host.experts() == ()
    (expert,) = host.experts(computed=True)
    assert (expert.id, expert.distribution, expert.version) == ("computed", "cogen-plugin-maker", "1.0")
    assert Host.discover().expert("computed") == expert


def test_first_result_asks_plugins_in_order(site: Path) -> None:
    """cogen_load_model: the first answer that is not None, in the order of distributions."""
    text = "import cogen\n@cogen.hookimpl\ndef cogen_load_model(spec): return {}\n"
    for id, answer in (("aa", None), ("bb", "'bb'"), ("cc", "'cc'")):
        install(site, id, init=text.format(answer))
    hooks = Host.discover().hooks
    assert hooks.first("cogen_load_model", spec=None, device="cpu", dtype="float32") == "bb"
    assert hooks.first("cogen_load_tokenizer", spec=None) is None


def test_collected_answers_name_their_plugin(site: Path) -> None:
    """cogen_eval_suites: one answer a plugin; an error says whose."""
    install(site, "aa", init="import cogen\n@cogen.hookimpl\ndef cogen_eval_suites(spec): return ['suite']\n")
    host = Host.discover()
    ((plugin, suites),) = host.hooks.collect("cogen_eval_suites", spec=None)
    assert (plugin.name, suites) == ("aa", ["suite"])
    install(
        site, "bb", init="import cogen\n@cogen.hookimpl\ndef cogen_eval_suites(spec):\n    yield 1\n    raise OSError\n"
    )
    with pytest.raises(PluginError, match="cogen-plugin-bb: cogen_eval_suites failed: OSError") as caught:
        Host.discover().hooks.collect("cogen_eval_suites", spec=None)
    assert caught.value.plugin == "cogen-plugin-bb"


def test_review_of_a_plan_can_veto(site: Path) -> None:
    """cogen_review_plan: diagnostics with their distribution; a reviewer that fails has not agreed."""
    text = "import cogen\n@cogen.hookimpl\ndef cogen_review_plan(plan): return [cogen.Diagnostic('veto', plan)]\n"
    install(site, "careful", init=text)
    assert Host.discover().review("too big") == [("cogen-plugin-careful", Diagnostic("veto", "too big"))]
    install(site, "wrong", init="import cogen\n@cogen.hookimpl\ndef cogen_review_plan(plan): return ['no']\n")
    with pytest.raises(PluginError, match="gave a str, not a Diagnostic"):
        Host.discover().review("too big")


def test_progress_listeners_cannot_stop_a_run(site: Path) -> None:
    """cogen_progress: every listener is told; one that raises is left out from then on."""
    text = "import cogen\nseen = []\n@cogen.hookimpl\ndef cogen_progress(event): seen.append(event.done)\n"
    install(site, "bad", init="import cogen\n@cogen.hookimpl\ndef cogen_progress(event): 1 / 0\n")
    install(site, "ear", init=text)
    hooks = Host.discover().hooks
    for done in (1, 2):
        hooks.tell(ProgressEvent("evaluate", "base", done, 2))
    import cogen_plugin_ear  # type: ignore[import-not-found]

    assert cogen_plugin_ear.seen == [1, 2]
    assert list(hooks.failures) == [("cogen-plugin-bad", "bad")]


def test_probe_survives_what_a_plugin_does_to_its_process(site: Path) -> None:
    """A plugin that ends the interpreter, prints, or opens sockets is reported, by another process."""
    install(site, "crash", init="import os; os._exit(9)")
    install(site, "loud", init="import socket\nprint('hello')\nsocket.socket().close()\n")
    install(site, "good", init=GOOD, toml=None)
    crash, good, loud = (probe(plugin) for plugin in Host.discover().plugins)
    assert "exit code 9" in (crash.reason or "")
    assert (loud.reason, loud.output) == (None, "hello")
    assert "socket.__new__" in loud.sockets
    assert good.hooks == ("cogen_fusion_methods", "cogen_sources")
    assert (good.heavy, good.sockets, good.output) == ((), (), "")

"""Merge methods and fetchers of plugins that fail: one line that names the plugin, on every road that uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.manifests import install
from support.sites import site

from cogen.checkpoints.sources import fetch
from cogen.cli.main import main
from cogen.errors import PluginError, UsageError
from cogen.fusion.merge.lookup import find_method
from cogen.host import Host

__all__ = ["site"]

HEAD = "import cogen\n@cogen.hookimpl\ndef cogen_fusion_methods(register): register('mine', 'cogen_plugin_odd.own:f')\n"


def method(site: Path, code: str) -> Any:
    folder = install(site, "odd", init=HEAD, toml=None)
    (folder / "own.py").write_text(code)
    return find_method(Host.discover(), "mine")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('inside method')", r"merge method mine failed: RuntimeError: inside method \(own.py:2\)"),
        ("raise SystemExit(0)", r"merge method mine failed: SystemExit: 0"),
        ("return None", "merge method mine gave a NoneType for x, not a tensor of floats"),
        ("return 3.0", "merge method mine gave a float for x"),
        ("return experts[0].long()", "merge method mine gave a tensor of torch.int64 for x"),
        ("return experts[0][:1]", "merge method mine gave 1 elements for x, 3 are needed"),
        ("return experts[99]", "merge method mine failed: IndexError"),
        ("return 1 / 0", "merge method mine failed: ZeroDivisionError"),
    ],
)
def test_a_method_that_fails(site: Path, body: str, reason: str) -> None:
    found = method(site, f"def f(base, experts, weights):\n    {body}\n")
    with pytest.raises(PluginError, match=f"cogen_plugin_odd: {reason}") as caught:
        found(torch.zeros(3), [torch.ones(3), torch.ones(3)], [1.0, 1.0], name="x")
    assert caught.value.plugin == "cogen_plugin_odd"
    assert caught.value.hint == "report it to the authors of cogen_plugin_odd"


def test_a_method_that_is_right(site: Path) -> None:
    """The same result as without the border, and the same parameters."""
    found = method(
        site, "def f(base, experts, weights, *, share=0.5):\n    return base + share * (experts[0] - base)\n"
    )
    assert found.parameters == {"share": 0.5}
    merged = found(torch.zeros(3), [torch.ones(3)], [1.0], share=0.25)
    assert torch.equal(merged, torch.full((3,), 0.25))
    with pytest.raises(UsageError, match="has no parameter 'other'"):
        found.check_parameters({"other": 1})


@pytest.mark.parametrize("code", ["f = 3\n", "f = 'text'\n", "class f:\n    __signature__ = 3\n"])
def test_what_is_no_method(site: Path, code: str) -> None:
    with pytest.raises(PluginError, match="cogen_plugin_odd"):
        method(site, code)


def test_an_interrupt_passes(site: Path) -> None:
    found = method(site, "def f(base, experts, weights):\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        found(torch.zeros(3), [torch.ones(3)], [1.0])


SOURCE = "import cogen\n@cogen.hookimpl\ndef cogen_sources(register):\n    register('odd', 'cogen_plugin_odd.own:f')\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no')", "fetching odd://x failed: ValueError: no"),
        ("raise SystemExit", "fetching odd://x failed: SystemExit"),
        ("return None", "fetching odd://x gave None, not the path of a file or folder"),
        ("return 3", "fetching odd://x gave 3"),
        ("return '/nowhere/at/all'", "fetching odd://x gave '/nowhere/at/all'"),
    ],
)
def test_a_fetcher_that_fails(site: Path, body: str, reason: str) -> None:
    folder = install(site, "odd", init=SOURCE, toml=None)
    (folder / "own.py").write_text(f"def f(request):\n    {body}\n")
    with pytest.raises(PluginError) as caught:
        fetch("odd://x")
    assert caught.value.message.startswith(f"cogen_plugin_odd: {reason}")


LOUD = """
import cogen, os, torch, types
print("imported")

@cogen.hookimpl
def cogen_fusion_methods(register):
    print("asked")
    register("mine", "cogen_plugin_odd.own:f")

@cogen.hookimpl
def cogen_distillation_losses(register):
    print("asked for losses")

@cogen.hookimpl
def cogen_load_model(spec, device, dtype):
    from support.tiny import llama
    kind = type(llama())
    def forward(self, *args, **options):
        print("forward")
        os.write(1, b"from C\\n")
        return kind.forward(self, *args, **options)
    model = llama(dtype=dtype)
    model.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return model
"""


def test_what_plugins_print_is_no_result(
    site: Path,
    world: Any,
    host: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A method, a hook and a model's forward pass that print, by Python and below it: --json stays one document."""
    folder = install(site, "odd", init=LOUD)
    (folder / "own.py").write_text("def f(base, experts, weights):\n    print('merging')\n    return experts[0]\n")
    machine = host(world.expert("e1", 1), world.expert("e2", 2))
    machine._plugins = list(Host.discover().plugins)
    monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))
    monkeypatch.setattr("cogen.evals.general_suites", list)
    out = str(tmp_path / "out")
    for command in (["fuse", "--method", "mine", "--scale", "1", "--level", "quick", "-o", out], ["eval", "e1"]):
        capfd.readouterr()
        assert main([*command, "--json"]) == 0, capfd.readouterr()
        found = capfd.readouterr()
        assert isinstance(json.loads(found.out), dict)
        assert "forward" in found.err
        assert "from C" in found.err

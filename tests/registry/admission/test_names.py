"""Names: one spelling, no look-alikes, nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import literal, select
from support.shelf import open_service, put, token

from cogen.wheels.errors import WheelError
from cogen.wheels.names import check_package, package_of
from cogen_registry.admission.looks import look
from cogen_registry.admission.names import (
    _look_of,
    claim_expert,
    claim_project,
    project_name,
)
from cogen_registry.database.tables import Project, Publisher
from cogen_registry.errors import Refused
from cogen_registry.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    opened = open_service(tmp_path / "root")
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["cogen-plugin-power", "Cogen_Plugin.POWER", "cogen--plugin__power"])
def test_a_name_has_one_spelling(name: str) -> None:
    assert project_name(name) == "cogen-plugin-power"


@pytest.mark.parametrize(
    "name",
    [
        "torch",
        "cogen",
        "cogen-core",
        "cogen-plugin",
        "cogen-plugin-",
        "cogen-plugin--",
        "-cogen-plugin-x",
        "cogen-pluginx",
        "cogen-plugin-x/../y",
        "cogen-plugin-\u0440ower",
        "cogen-plugin-" + "x" * 100,
        "",
        "cogen-plugin-x\n",
        "cogen-plugin-a-",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="is not a plugin's name") as refused:
        project_name(name)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("power", "p0wer"),
        ("clinical", "c1inical"),
        ("modern", "modem"),
        ("power-grid", "powergrid"),
        ("wave", "vvave"),
        ("icd10", "icdlo"),
        ("x5", "xs"),
        ("cogen-plugin-power", "power"),
        ("valve", "ualue"),
        ("b2b", "6zb"),
    ],
)
def test_look_alikes_have_one_look(one: str, other: str) -> None:
    assert look(one) == look(other)


@pytest.mark.parametrize(("one", "other"), [("power", "powers"), ("clinical", "clinics"), ("neuro", "euro")])
def test_other_names_look_otherwise(one: str, other: str) -> None:
    assert look(one) != look(other)


@settings(max_examples=30, deadline=None)
@given(st.from_regex(r"[a-z][a-z0-9-]{1,39}", fullmatch=True))
def test_case_and_separators_don_t_change_the_look(name: str) -> None:
    assert look(name.upper()) == look(name.replace("-", "_.")) == look(name.replace("-", "")) == look(name)


def test_the_database_sees_what_python_sees(service: Service) -> None:
    with service.sessions.read() as session:
        for name in ("power-grid", "p0wer-gr1d", "modern-5-2-8-9-6-vv", "a-i-1-l"):
            assert session.scalar(select(_look_of(literal(name)))) == look(name)


@pytest.mark.parametrize(
    "package",
    [
        "torch",
        "cogen",
        "cogen_plugin_other",
        "cogen_plugin_power_grid",
        "Cogen_plugin_power",
        "cogen_plugin_power__",
        "cogen_plugin_power__X",
    ],
)
def test_a_plugin_installs_no_package_of_others(package: str) -> None:
    with pytest.raises(WheelError, match="not cogen-plugin-power's own"):
        check_package("cogen-plugin-power", package)


def test_a_plugin_has_packages_of_its_own() -> None:
    for package in ("cogen_plugin_power", "cogen_plugin_power__wind", "cogen_plugin_power__wind_sea"):
        check_package("cogen-plugin-power", package)


PROJECTS = st.from_regex(r"cogen-plugin-[a-c0]{1,2}(-[a-c0]{1,2}){0,2}", fullmatch=True)


@settings(max_examples=30, deadline=None)
@given(PROJECTS, PROJECTS, st.from_regex(r"[a-c0_]{1,6}", fullmatch=True))
def test_no_two_projects_share_a_package(one: str, other: str, more: str) -> None:
    if one != other:
        for package in (package_of(one), f"{package_of(one)}__{more}"):
            with pytest.raises(WheelError):
                check_package(other, package)


def test_a_name_belongs_to_its_first_publisher(service: Service) -> None:
    token(service, "first"), token(service, "second")
    with service.sessions.write() as session:
        ids = dict(session.execute(select(Publisher.name, Publisher.id)).all())
        made = claim_project(session, ids["first"], "cogen-plugin-power")
        assert (made.look, made.publisher_id) == ("power", ids["first"])
        assert claim_project(session, ids["first"], "cogen-plugin-power").id == made.id
        for publisher, name, message in (
            ("second", "cogen-plugin-power", "belongs to another publisher"),
            ("second", "cogen-plugin-p0wer", "looks like cogen-plugin-power"),
            ("first", "cogen-plugin-po-wer", "looks like cogen-plugin-power"),
        ):
            with pytest.raises(Refused, match=message) as refused:
                claim_project(session, ids[publisher], name)
            assert refused.value.status == 403


def test_an_experts_id_belongs_to_its_first_project(service: Service) -> None:
    put(service, "power", team="first")
    put(service, "energy", team="second")
    with service.sessions.read() as session:
        power, energy = session.scalars(select(Project).order_by(Project.id)).all()
        claim_expert(session, power, "power")
        claim_expert(session, power, "p0wer")
        claim_expert(session, energy, "wind")
        for id, message in (
            ("power", "power belongs to cogen-plugin-power"),
            ("p0wer", "p0wer looks like power of cogen-plugin-power"),
            ("cogen-plugin-x", "begins like a plugin's name"),
        ):
            with pytest.raises(Refused, match=message):
                claim_expert(session, energy, id)

"""A mirror in use: `cogen` over a plain web server, and its pages in a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import Visit, launched
from support.hosting import hosted
from support.hub import running
from support.trees import built, tree
from support.users import User, publisher

from cogen.sharing.index import read_index
from cogen_registry.export import export
from cogen_registry.settings import Settings

SOUND = (
    "",
    "experts/",
    "experts/clinical/",
    "experts/hostile/index.html",
    "composites/gridworks/both/",
    "publishers/hospital/",
)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Makes a user of the command line, by name."""
    for name in [name for name in os.environ if name.startswith("COGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(
        "cogen.sharing.publishing.publish.build_wheel", lambda folder, place: built(folder, Path(place) / "built")
    )
    monkeypatch.setattr("cogen.sharing.publishing.publish.check_wheel", lambda wheel: 1)

    def make(name: str) -> User:
        (tmp_path / name).mkdir()
        return User(tmp_path / name, monkeypatch, capsys)

    return make


@pytest.mark.slow
def test_cogen_searches_verifies_and_installs_from_a_mirror(
    user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signature, wheel and weights are checked as from a service; what was altered on the mirror is refused."""
    target = tmp_path / "mirror"
    with running(tmp_path / "root", verify_elsewhere=False) as registry:
        team = publisher(registry, user, "acme")
        tree(team.home / "plugin", "wind", apart=True, title="Wind farms")
        published = team.ok("publish", "plugin", "--yes", "--weights", "acme/wind-weights")
        export(Settings(root=tmp_path / "root", embedder="none"), target)
    with hosted(target) as url:
        someone = user("someone")
        with monkeypatch.context() as patch:
            patch.setenv("COGEN_INDEX", f"{url}/api/v1/index.json")
            found = someone.ok("search", "wind")
            assert [(one["id"], one["signed"]) for one in found["experts"] if not one.get("installed")] == [
                ("wind", True)
            ]
        added = someone.ok("add", "wind", "--registry", url)
        assert (added["installed"], added["key"], added["sha256"]) == (True, published["key"], published["sha256"])
        assert [one["signed"] for one in added["weights"]] == [True]
        assert someone.installed() == ["cogen_plugin_wind-1.0.dist-info"]
        finding = next(one for one in someone.ok("verify")["findings"] if one["name"] == "cogen-plugin-wind")
        assert finding["ok"]
        assert "has no expert" in someone.refused("add", "nothing", "--registry", url)

        for number, pattern in enumerate(("files/*/*.whl", "acme/*/resolve/*/adapter_model.safetensors")):
            path = next(target.glob(pattern))
            other, data = user(f"other{number}"), path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            assert "is not the file that was published" in other.refused("add", "wind", "--registry", url)
            assert other.trace() == {"installed": [], "receipts": [], "project": ""}
            path.write_bytes(data)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def counted(page: Any, number: int) -> None:
    """Waits until the list has so many entries. (The pages forbid what ``wait_for_function`` does.)"""
    from playwright.sync_api import expect

    expect(page.locator("[data-list] > li")).to_have_count(number)


@pytest.mark.parametrize("path", ["", "/some/where/below"])
def test_pages_of_a_mirror_in_chromium(browser: Any, mirror: Path, tmp_path: Path, path: str) -> None:
    """At the root of a host and below it: sound, filtered without a server, and commands name the place."""
    place = tmp_path / path.strip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(mirror, place, dirs_exist_ok=True, copy_function=os.link)
    with hosted(tmp_path) as host:
        url = host + path
        for width, scheme in ((390, "dark"), (1280, "light")):
            visit = Visit(browser, width, scheme)
            for page in SOUND:
                visit.sound(f"{url}/{page}")
            visit.close()
        visit = Visit(browser)
        page = visit.open(f"{url}/")
        page.locator(".chips a", has_text="power grid").click()
        page.wait_for_url("**/experts/index.html#power%20grid")
        counted(page, 1)
        assert page.locator("[role=status]").inner_text() == "1 expert."
        page.fill("#filter", "topic bulk")
        counted(page, 25)
        page.fill("#filter", "script")
        counted(page, 1)
        assert page.locator("[data-list] h3").inner_text().startswith("<script>alert('title')")
        page.fill("#filter", "")
        counted(page, 29)
        page.fill("#filter", "clinical")
        counted(page, 1)
        page.locator("[data-list] a").click()
        page.wait_for_url("**/experts/clinical/index.html")
        assert page.locator("pre").first.inner_text() == f"cogen add clinical --registry {url}"
        assert (visit.complaints, visit.dialogs) == ([], [])
        visit.close()


def test_pages_of_a_mirror_without_javascript(browser: Any, mirror: Path) -> None:
    """The whole list is there; no form is, that nobody would answer."""
    with hosted(mirror) as url:
        visit = Visit(browser, scripts=False)
        page = visit.open(f"{url}/experts/")
        assert page.locator("[data-list] > li").count() == 29
        assert not page.locator("form").is_visible()
        visit.close()


def test_the_list_is_split_where_it_is_long(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.shelf import open_service
    from support.stock import stock

    monkeypatch.setattr("cogen_registry.mirror.pages.PER_PAGE", 2)
    service = open_service(tmp_path / "root")
    for number in range(5):
        stock(service, f"e{number}")
    service.close()
    export(Settings(root=tmp_path / "root", embedder="none"), tmp_path / "mirror")
    folder = tmp_path / "mirror" / "experts"
    assert sorted(path.name for path in folder.glob("*.html")) == ["2.html", "3.html", "index.html"]
    found = [
        number
        for name in ("index.html", "2.html", "3.html")
        for number in range(5)
        if f'href="../experts/e{number}/index.html"' in (folder / name).read_text()
    ]
    assert sorted(found) == list(range(5))
    assert len(read_index(str(tmp_path / "mirror" / "api" / "v1" / "index.json"))) == 5

"""The pages in a real Chromium: at both widths and in both schemes, by keyboard alone, and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.browser import Visit, launched
from support.hub import Registry, running
from support.stock import fill

PATHS = (
    "/",
    "/experts",
    "/experts?q=grid",
    "/experts?q=nothing-is-called-so",
    "/experts/clinical",
    "/experts/power/0.9",
    "/experts/old",
    "/experts/apart",
    "/experts/hostile",
    "/compare",
    "/compare?id=clinical&id=hostile&id=nobody",
    "/publishers/hospital",
    "/composites",
    "/composites/gridworks/both",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def registry(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(tmp_path_factory.mktemp("browsed") / "root") as opened:
        fill(opened.service)
        yield opened


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "dark"),
        (390, "light"),
        pytest.param(1280, "light", marks=pytest.mark.slow),
        pytest.param(390, "dark", marks=pytest.mark.slow),
    ],
)
def test_every_page_is_sound(browser: Any, registry: Registry, width: int, scheme: str) -> None:
    """Console, contrast, names, landmarks, nothing from elsewhere, and no sideways scrolling on a phone."""
    visit = Visit(browser, width, scheme)
    for path in PATHS:
        visit.sound(registry.url + path)
    visit.page.goto(registry.url + "/experts/clinical")
    visit.page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.close()


def test_from_the_front_page_to_a_command_by_keyboard(browser: Any, registry: Registry) -> None:
    """Skip link, search, result, install command: nothing but keys, and always a visible focus."""
    visit = Visit(browser)
    page = visit.open(registry.url + "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("power grid")
    page.keyboard.press("Enter")
    page.wait_for_url("**/experts?q=power+grid")
    assert "for “power grid”" in page.locator("[role=status]").inner_text()
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
        if page.evaluate("document.activeElement.getAttribute('href')") == "/experts/power":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/experts/power")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "PRE":
            break
    assert page.evaluate("document.activeElement.textContent") == "cogen add power"
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Copy: install with cogen"
    page.keyboard.press("Enter")
    page.locator("button", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "cogen add power"
    assert visit.complaints == []
    visit.close()


def test_filters_and_comparison_without_javascript(browser: Any, registry: Registry) -> None:
    """Plain forms: choose a domain, tick two experts, add a third one by its id, take one out."""
    visit = Visit(browser, scripts=False)
    page = visit.open(registry.url + "/experts")
    page.select_option("#domain", "testing")
    page.select_option("#sort", "name")
    page.click("text=Apply")
    page.wait_for_url("**domain=testing**")
    page.check("input[value=apart]")
    page.check("input[value=clinical]")
    page.click("text=Compare what is ticked")
    page.wait_for_url("**/compare?id=apart&id=clinical")
    page.fill("#add", "power")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**id=power")
    heads = page.locator("thead th a bdi").all_inner_texts()
    assert heads == ["Weights apart", "Clinical notes", "Power grid"]
    page.locator("text=take out").first.click()
    page.wait_for_url("**/compare?id=clinical&id=power")
    assert page.locator("thead th a bdi").all_inner_texts() == ["Clinical notes", "Power grid"]
    visit.close()


def test_hostile_manifests_run_nothing(browser: Any, registry: Registry) -> None:
    """Not when the page is opened, and not when everything on it that can be clicked is."""
    visit = Visit(browser)
    for path in ("/experts/hostile", "/composites/gridworks/both"):
        page = visit.open(registry.url + path)
        for target in page.locator("main a, main summary").all()[:25]:
            href = target.get_attribute("href") or ""
            assert not href.lower().startswith(("javascript:", "data:"))
            target.hover(timeout=2000)
        assert page.locator("main script, main img, main iframe, main [onload], main [onerror]").count() == 0
    assert visit.dialogs == []
    assert visit.complaints == []
    visit.close()


def test_pages_of_the_lineage_can_be_followed(browser: Any, registry: Registry) -> None:
    visit = Visit(browser, 390)
    page = visit.open(registry.url + "/experts/clinical")
    page.locator(".chart a", has_text="Both of them").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/composites/gridworks/both")
    page.locator("main a", has_text="Power grid").click()
    page.wait_for_url("**/experts/power/1.0")
    visit.close()

"""A real Chromium, where there is one, and what every page of ours has to be in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Text whose computed contrast is too low: [text, ratio], by WCAG 2; backgrounds that are not opaque are put together.
_CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const over = (top, under) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => top[i] * alpha + under[i] * (1 - alpha));
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(numbers(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("script, svg, option, .hidden") || !element.checkVisibility()) continue;
    const back = behind(element);
    const fore = over(numbers(getComputedStyle(element).color), back);
    const [a, b] = [light(fore), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push([text.slice(0, 40), Math.round(ratio * 100) / 100]);
  }
  return bad;
}"""
#: Form fields and links that nobody who can't see would know by name, and headings that skip a level.
_NAMELESS = """() => {
  const bad = [];
  for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!one.labels?.length && !one.getAttribute("aria-label")) bad.push(one.outerHTML.slice(0, 80));
  }
  for (const one of document.querySelectorAll("a[href], button")) {
    if (!(one.textContent.trim() || one.getAttribute("aria-label"))) bad.push(one.outerHTML.slice(0, 80));
  }
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4")) {
    const now = Number(one.tagName[1]);
    if (now > level + 1) bad.push(one.outerHTML.slice(0, 80));
    level = now;
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push(`twice: ${id}`);
  for (const one of document.querySelectorAll("[aria-labelledby]")) {
    if (!document.getElementById(one.getAttribute("aria-labelledby"))) bad.push(one.outerHTML.slice(0, 80));
  }
  return bad;
}"""


def executable() -> str | None:
    """``COGEN_CHROMIUM``, or the first Chromium or Chrome on the path."""
    return os.environ.get("COGEN_CHROMIUM") or next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Any]:
    """Playwright's browser; the test is skipped where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("tests in a browser need playwright: pip install playwright")
    if (path := executable()) is None:
        pytest.skip("tests in a browser need Chromium on the PATH, or its path in COGEN_CHROMIUM")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A window of one width and scheme of colours. ``complaints``: what the console said; ``dialogs``: what ran."""

    def __init__(self, browser: Any, width: int = 1280, scheme: str = "light", scripts: bool = True) -> None:
        self.width = width
        self.context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, java_script_enabled=scripts
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda output: self.complaints.append(f"{output.type}: {output.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, url: str) -> Any:
        self.page.goto(url, wait_until="load")
        return self.page

    def sound(self, url: str) -> None:
        """Nothing to complain of: console, width, names, landmarks, contrast; nothing comes from elsewhere."""
        page = self.open(url)
        assert (url, self.complaints, self.dialogs) == (url, [], [])
        assert page.evaluate("document.documentElement.scrollWidth") <= self.width, url
        assert (url, page.evaluate(_CONTRAST)) == (url, [])
        assert (url, page.evaluate(_NAMELESS)) == (url, [])
        for landmark in ("header", "main", "nav[aria-label]", "footer", "h1"):
            assert page.locator(landmark).count() >= 1, (url, landmark)
        assert page.locator("main").count() == page.locator("h1").count() == 1, url
        assert page.title(), url
        origin = "/".join(url.split("/")[:3])
        assert [one for one in self.requests if not one.startswith(origin + "/")] == [], url

    def close(self) -> None:
        self.context.close()

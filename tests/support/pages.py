"""A page of HTML as a browser would see it: well formed, and harmless."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "br", "link", "img", "hr", "input", "base", "col", "embed", "source", "track", "wbr", "area"}
#: Attributes that make a browser fetch or run something.
_LOADING = {"src", "srcset", "data", "poster", "background", "action", "formaction", "xlink:href", "ping"}


class Page(HTMLParser):
    """Checks the nesting of tags while it collects what a browser would do with the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
            if (tag, name) == ("a", "href"):
                self.links.append(value or "")


def harmless(page: Page) -> None:
    """Nothing is loaded, nothing runs, and links are plain ones to a section or to https."""
    assert not page.tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "img",
        "base",
        "form",
        "foreignobject",
        "use",
    }
    for tag, name, value in page.attributes:
        assert name not in _LOADING, (tag, name, value)
        assert not name.startswith("on"), (tag, name, value)
        assert name != "href" or tag == "a", (tag, name, value)
        assert "url(" not in value
    for link in page.links:
        assert link.startswith(("#", "https://")), link
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)

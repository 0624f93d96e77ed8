"""Laws of what the pages are made of: verdicts, drawings, words, the cache."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest

from cogen_registry import tag_cache
from cogen_registry.experts import models
from cogen_registry.pages import browse, evidence, formats, lineage
from cogen_registry.pages.cache import Cache, Page
from cogen_registry.pages.links import Mirrored, Served

CLAIM = models.Claimed(
    suite="s", title="S", metric="bits_per_byte", value=1.0, documents=3, date="2026-01-01", harness="h"
)
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def measured(value: float, low: float | None, high: float | None, **changes: Any) -> models.Measured:
    fields: dict[str, Any] = {
        "id": 1,
        "expert": "e",
        "version": "1",
        "suite": "s",
        "metric": "bits_per_byte",
        "split": "test",
        "value": value,
        "low": low,
        "high": high,
        "documents": 3,
        "promised": 3,
        "harness": "h",
        "by": "team",
        "own": False,
        "created": NOW,
        "evidence": "0" * 64,
    }
    return models.Measured(**fields | changes)


@pytest.mark.parametrize(
    ("value", "low", "high", "metric", "verdict"),
    [
        (1.02, 0.9, 1.1, "bits_per_byte", "agrees with the claim"),
        (1.0, 1.0, 1.0, "bits_per_byte", "agrees with the claim"),
        (1.2, 1.1, 1.3, "bits_per_byte", "worse than claimed"),
        (0.8, 0.7, 0.9, "bits_per_byte", "better than claimed"),
        (0.8, 0.7, 0.9, "acc", "worse than claimed"),
        (1.2, None, None, "bits_per_byte", "no interval was given"),
    ],
)
def test_a_verdict_is_about_the_interval(
    value: float, low: float | None, high: float | None, metric: Any, verdict: str
) -> None:
    """Lower is better for bits per byte, higher for answers; without an interval nothing is said."""
    claim = CLAIM.model_copy(update={"metric": metric})
    assert evidence.compare(measured(value, low, high, metric=metric), claim)[1] == verdict


def test_another_part_is_not_compared() -> None:
    assert evidence.compare(measured(2.0, 1.9, 2.1, split="dev"), CLAIM) == ("", "another split than the claim", "none")
    assert evidence.compare(measured(2.0, 1.9, 2.1), None)[1] == "no claim to compare with"


def test_marks_lie_on_one_axis_in_the_order_of_their_values() -> None:
    spec = {"suites": [{"id": "s", "title": "S", "metric": "bits_per_byte"}]}
    lines = [measured(1.1, 1.05, 1.2), measured(0.9, 0.8, 1.0), measured(3.0, 2.9, 3.1, split="dev")]
    (block,) = evidence.blocks(spec, models.Evaluations(claims=[CLAIM], measured=lines))
    marks = [line.mark for line in block.lines]
    assert [mark.claim is None for mark in marks if mark] == [False, False, True]
    for mark in marks:
        assert mark is not None
        assert mark.low is not None
        assert mark.high is not None
        assert 0 < mark.low < mark.x < mark.high < evidence.WIDTH
    first, second, last = marks
    assert first is not None
    assert second is not None
    assert last is not None
    assert second.x < (first.claim or 0) < first.x < last.x


def detail(composites: int = 0, relation: str = "ffn") -> models.Detail:
    card = {
        "id": "power",
        "version": "1.0",
        "project": "p",
        "title": "A very long title that no box can hold at all",
        "summary": "s",
        "publisher": "t",
        "domains": [],
        "languages": [],
        "license": "MIT",
        "base": {"name": "Base", "digest": "sha256:0"},
        "architecture": "a",
        "parameters": 10,
        "relation": relation,
        "size": 1,
        "released": NOW,
        "signed": False,
        "key": None,
        "yanked": False,
    }
    uses = [
        models.Use(publisher="t", name=f"c{i}", version=1, title=f"C{i}", exact=i % 2 == 0) for i in range(composites)
    ]
    file = models.File(filename="f", url="u", sha256="0", size=1, requires_python=None)
    return models.Detail(
        **card,
        spec={},
        spec_digest="d",
        versions=[],
        file=file,
        signature=None,
        composites=uses,
        evaluations=models.Evaluations(claims=[], measured=[]),
    )


@pytest.mark.parametrize(("siblings", "others", "uses"), [(0, 0, 0), (2, 2, 1), (5, 700, 9)])
def test_the_lineage_has_one_box_for_each_and_none_overlap(siblings: int, others: int, uses: int) -> None:
    one = detail(uses)
    cards = [
        models.Card(**one.model_dump(include=set(models.Card.model_fields)) | {"id": f"e{i}"}) for i in range(siblings)
    ]
    graph = lineage.graph(one, cards, others, Served())
    kinds = [node.kind for node in graph.nodes]
    assert (kinds.count("base"), kinds.count("this"), kinds.count("expert")) == (1, 1, siblings)
    assert kinds.count("composite") == min(uses, lineage.USES)
    assert kinds.count("more") == (others > siblings) + (uses > lineage.USES)
    boxes = [(node.x, node.y) for node in graph.nodes]
    assert len(set(boxes)) == len(boxes)
    for x, y in boxes:
        assert 0 <= x <= graph.width - graph.box[0]
        assert 0 <= y <= graph.height - graph.box[1]
        assert not [o for o in boxes if o != (x, y) and o[0] == x and abs(o[1] - y) < graph.box[1]]
    assert len(graph.edges) == len(graph.nodes) - 1
    assert all(len(node.label) <= 24 for node in graph.nodes)
    assert [node.href for node in graph.nodes if node.kind == "this"] == [None]


def test_who_has_no_base_has_none_in_the_drawing() -> None:
    graph = lineage.graph(detail(relation="scratch"), [], 0, Served())
    assert [node.kind for node in graph.nodes] == ["this"]
    assert graph.edges == ()


@pytest.mark.parametrize(
    ("page", "pages", "shown"),
    [(1, 1, [1]), (1, 3, [1, 2, 3]), (5, 9, [1, None, 3, 4, 5, 6, 7, None, 9]), (9, 9, [1, None, 7, 8, 9])],
)
def test_pages_that_are_linked(page: int, pages: int, shown: list[int | None]) -> None:
    assert browse.near(page, pages) == shown


@pytest.mark.parametrize(
    ("number", "output"),
    [(0, "0"), (999, "999"), (1000, "1k"), (135_000_000, "135M"), (999_600_000, "1B"), (1_700_000_000, "1.7B")],
)
def test_sizes_of_models_in_words(number: int, output: str) -> None:
    assert formats.count(number) == output


@pytest.mark.parametrize(
    ("uri", "may"),
    [
        ("https://x.example/a?b=c", True),
        ("http://x.example", True),
        ("javascript:alert(1)", False),
        ("hf://a/b", False),
        ("JavaScript:alert(1)", False),
        (" https://x", False),
        ('https://x/" onclick=a', False),
        ("//x", False),
        ("data:text/html,x", False),
        ("https://x/\x00\t", False),
        ("ftp://x", False),
    ],
)
def test_which_addresses_become_links(uri: str, may: bool) -> None:
    assert formats.hyperlink(uri) is may


def test_links_of_a_service_and_of_a_mirror() -> None:
    assert Served().page("experts", q="a b", page=0, domain="") == "/experts?q=a+b"
    assert Served("/x/").page() == "/x/"
    assert Served().file("files", "a/../b", "c d") == "/files/a%2F..%2Fb/c%20d"
    assert Mirrored("experts", "a").page("experts", "b") == "../../experts/b/index.html"
    assert Mirrored().page("experts", domain="a b") == "experts/index.html#a%20b"
    assert Mirrored("a").json("api", "x") == "../api/x/index.json"


class TestCache:
    """Never an old page, never more bytes than were allowed."""

    def test_the_least_used_goes_first(self) -> None:
        cache = Cache(most=25)
        for key in "ab":
            cache.made(key, lambda: Page(b"x" * 10))
        cache.made("a", lambda: Page(b"never made"))
        cache.made("c", lambda: Page(b"y" * 10))
        assert (len(cache), cache.size) == (2, 20)
        assert cache.get("b") is None
        assert cache.get("a") is not None
        cache.made("d", lambda: Page(b"z" * 26))
        assert cache.get("d") is None
        assert cache.size == 20

    def test_a_change_drops_what_it_touches(self) -> None:
        cache = Cache()
        cache.made("a", lambda: Page(b"old", tags=frozenset(("x", "y"))))
        cache.made("b", lambda: Page(b"other", tags=frozenset(("z",))))
        cache.drop(("y", "none"))
        assert cache.made("a", lambda: Page(b"new", tags=frozenset(("x",)))).body == b"new"
        assert cache.get("b") == Page(b"other", tags=frozenset(("z",)))
        assert cache.size == 8
        cache.drop(None)
        assert (len(cache), cache.size) == (0, 0)

    def test_a_page_that_says_nothing_goes_with_every_change(self) -> None:
        cache = Cache()
        cache.made("a", lambda: Page(b"x"))
        cache.drop(("whatever", "*"))
        assert cache.get("a") is None

    @pytest.mark.parametrize("tags", [("x",), None])
    def test_a_page_of_before_a_change_is_not_kept(self, tags: tuple[str, ...] | None) -> None:
        cache = Cache()

        def make() -> Page:
            cache.drop(tags)  # something is published while the page is made
            return Page(b"old", tags=frozenset(("x",)))

        cache.made("a", make)
        assert cache.get("a") is None

    def test_a_change_of_something_else_meanwhile_does_no_harm(self) -> None:
        cache = Cache()

        def make() -> Page:
            cache.drop(("y",))
            return Page(b"good", tags=frozenset(("x",)))

        cache.made("a", make)
        assert cache.get("a") is not None

    def test_more_changes_than_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then a page that was begun before is not kept, whatever it depends on."""
        monkeypatch.setattr(tag_cache, "_REMEMBERED", 3)
        cache = Cache()
        stamp = cache.stamp()
        cache.drop(("x", "b", "c", "d"))
        assert not cache.put("a", Page(b"old"), ("x",), stamp)
        assert cache.put("a", Page(b"new"), ("x",), cache.stamp())

    def test_what_may_not_be_kept_is_not(self) -> None:
        cache = Cache()
        cache.made("a", lambda: Page(b"x", keep=False))
        assert len(cache) == 0

    def test_many_threads(self) -> None:
        cache = Cache(most=1000)
        wrong: list[bytes] = []

        def work(seed: int) -> None:
            for step in range(300):
                key = (seed * 7 + step) % 40
                body = cache.made(key, lambda key=key: Page(b"%d" % key * 20)).body  # type: ignore[misc]
                if body != b"%d" % key * 20:
                    wrong.append(body)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert cache.size <= 1000
        assert cache.size == sum(len(page.body) for page, _ in cache._values.values())

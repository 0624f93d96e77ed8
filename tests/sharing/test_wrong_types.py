"""A registry whose answers hold anything anywhere: every field of every answer, with every kind of JSON in its place.

Whatever comes, a verb ends with an answer or with one line and a hint; and a terminal obeys nothing of it.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cogen.cli.main import main
from cogen.errors import CogenError
from cogen.remote import client as remote
from cogen.remote.client import Client
from cogen.sharing import binding, index, login, resolve, signatures
from cogen.sharing import search as find
from cogen.sharing.names import ListedNames
from cogen.trust.registries import Registry

URL = "http://127.0.0.1:9"
#: ESC and CSI, a bell, a line break, a right-to-left override, and a C1 control that terminals take for ESC [.
EVIL = "a\x1b]0;owned\x07b\x1b[2Jc\r\nd\u202ee\x9bf"
JUNK: list[Any] = [
    None,
    True,
    5,
    -1,
    10**400,
    float("inf"),
    float("nan"),
    "",
    "x",
    EVIL,
    "../../x.whl",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
]

DETAIL: dict[str, Any] = {
    "id": "power",
    "project": "cogen-plugin-power",
    "version": "1.0",
    "publisher": "team",
    "yanked": False,
    "file": {"filename": "cogen_plugin_power-1.0-py3-none-any.whl", "sha256": "1" * 64, "size": 5},
    "signature": {
        "key": "sha256:" + "2" * 64,
        "statement": {"schema": 1},
        "bundle": {"mediaType": "x"},
        "revoked": None,
    },
    "versions": [{"version": "1.0", "yanked": None}],
}
CARD: dict[str, Any] = {
    "id": "power",
    "version": "1.0",
    "project": "cogen-plugin-power",
    "title": "Power",
    "summary": "Power of grids",
    "publisher": "team",
    "domains": ["energy"],
    "languages": ["en"],
    "license": "Apache-2.0",
    "base": {"name": "tiny", "digest": "sha256:1"},
    "parameters": 1000,
    "relation": "adapter",
    "size": "1K",
    "signed": True,
    "key": None,
    "yanked": False,
    "code": False,
}


def bent(value: Any) -> Iterator[Any]:
    """Copies of a document in which one value after the other is junk, or is missing."""
    yield from copy.deepcopy(JUNK)
    for path in _paths(value):
        for junk in (*JUNK, ...):
            made = copy.deepcopy(value)
            inner = made
            for part in path[:-1]:
                inner = inner[part]
            if junk is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = copy.deepcopy(junk)
            yield made


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in parts:
        yield (*before, name)
        yield from _paths(inner, (*before, name))


def through(value: Any) -> Any:
    """As it comes out of JSON, where Python reads Infinity and long numbers, too."""
    return json.loads(json.dumps(value))


class Fixed(Client):
    """Answers everything alike."""

    def __init__(self, answer: Any, other: Any = None) -> None:
        super().__init__(Registry(URL))
        self.answer, self.other = answer, other

    def send(self, method: str, path: str, **options: Any) -> Any:
        if self.other is not None and "/publishers/" in path:
            return through(self.other)
        return through(self.answer)


def holds(call: Callable[[], Any]) -> None:
    """It ends, or says why not."""
    with contextlib.suppress(CogenError):
        call()


def test_the_description_of_an_expert() -> None:
    for answer in bent(DETAIL):
        client = Fixed(answer)
        holds(lambda client=client: resolve.resolve(client, "power", None))
        holds(lambda client=client: resolve.resolve(client, "power", "1.0"))


def test_a_release_that_was_read_is_of_the_right_types() -> None:
    for answer in bent(DETAIL):
        try:
            found = resolve.resolve(Fixed(answer), "power", None)
        except CogenError:
            continue
        assert 0 <= found.size < 1 << 53
        assert (found.sha256 + found.filename).isascii()
        for field in (found.project, found.version, found.publisher, found.expert):
            assert field.isprintable()
            assert 0 < len(field) <= 200
        holds(lambda found=found: binding.check_asked(found, "power", "1.0", URL))


@pytest.mark.usefixtures("home")
def test_keys_and_signatures() -> None:
    release = resolve.resolve(Fixed(DETAIL), "power", None)
    for answer in bent({"name": "team", "keys": [{"fingerprint": "sha256:" + "2" * 64, "pem": "x", "revoked": None}]}):
        holds(lambda answer=answer: signatures.check_release(Fixed(None, answer), release))
    for answer in bent(DETAIL):
        try:
            found = resolve.resolve(Fixed(answer), "power", None)
        except CogenError:
            continue
        holds(lambda found=found: signatures.check_release(Fixed(None, {"keys": []}), found))


def test_who_am_i() -> None:
    for answer in bent({"name": "team", "scopes": ["packages"]}):
        client = Fixed(answer)
        holds(lambda client=client: login.whoami(client))


def test_packages() -> None:
    """`cogen add` by the name of a distribution asks the package index."""

    class Pages(Client):
        def __init__(self, page: Any, release: Any) -> None:
            super().__init__(Registry(URL))
            self.page, self.release = page, release

        def send(self, method: str, path: str, **options: Any) -> Any:
            if path.startswith("/simple/"):
                return through(self.page)
            if path.startswith("/api/v1/releases/"):
                return through(self.release)
            raise resolve.NotThere("there is none", hint="x", status=404)

    page = {
        "files": [{"filename": "cogen_plugin_power-1.0-py3-none-any.whl", "yanked": False}],
        "projects": [{"name": "cogen-plugin-power"}],
    }
    release = {"experts": ["power"], "version": "1.0"}
    for answer in bent(page):
        holds(lambda answer=answer: resolve.resolve(Pages(answer, release), "cogen-plugin-power", None))
    for answer in bent(release):
        holds(lambda answer=answer: resolve.resolve(Pages(page, answer), "cogen-plugin-power", None))


def test_search(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The verb as a person runs it, on what the registry answers, and on a static index."""
    honest = {"items": [CARD], "total": 1, "note": "words alone"}
    monkeypatch.setenv("COGEN_REGISTRY", URL)
    for answer in bent(honest):
        monkeypatch.setattr(Client, "send", lambda *a, answer=answer, **k: through(answer))
        for words in (["search", "power"], ["search", "power", "--json"]):
            assert main(words) in (0, 1), answer
    output = capfd.readouterr()
    assert "Traceback" not in output.err, output.err[output.err.index("Traceback") :][:3000]
    assert not {c for c in output.out + output.err if not c.isprintable() and c != "\n"}


@pytest.mark.parametrize("form", ["older", "mirror"])
def test_the_static_index(form: str) -> None:
    query = find.RegistryQuery("power", domain="energy", language="en", license="Apache-2.0", base="tiny", size="<1M")
    for card in bent(CARD):
        if form == "older":
            holds(
                lambda card=card: find.choose(index.read_index(f"{URL}/index.json", Fixed({"experts": [card]})), query)
            )
        else:
            holds(
                lambda card=card: find.ask(
                    Fixed({"items": [], "total": 0, "note": "a mirror", "experts": [card]}), query
                )
            )
    for answer in bent({"schema": 2, "shards": [{"name": "ab", "sha256": "1" * 64, "size": 5}]}):
        client = Fixed(answer)
        client.read = lambda path, limit=0: b"[]"  # type: ignore[method-assign,assignment]
        holds(lambda client=client: index.read_index(f"{URL}/index.json", client))


def test_what_says_no() -> None:
    """Errors are said in the registry's words, whatever they are."""
    for answer in bent({"error": "no", "hint": "yes", "detail": [{"loc": ["body", "name"], "msg": "missing"}]}):
        inner = answer.get("detail") if isinstance(answer, dict) else answer
        for body in (answer, {"detail": answer}, {"detail": inner}):
            for line in remote._words(json.dumps(body).encode()):
                assert line is None or (line.isprintable() and len(line) <= 500)
    assert remote._words(b"[" * 100_000) == (None, None)


def test_signed_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the registry itself signed: it may be hostile, or its keys stolen."""
    from cogen.sharing.names import Names

    listing = {
        "schema": 1,
        "project": "p",
        "publisher": "team",
        "releases": [
            {
                "version": "1.0",
                "filename": "p-1.0-py3-none-any.whl",
                "sha256": "1" * 64,
                "size": 5,
                "yanked": None,
                "key": None,
                "experts": ["power"],
                "publisher": "team",
            }
        ],
    }
    names = Names.__new__(Names)
    names.client = Client(Registry(URL))
    deep = b"[" * 100_000
    for document in (*(json.dumps(one).encode() for one in bent(listing)), deep):
        monkeypatch.setattr(names, "read", lambda path, document=document: document, raising=False)

        def read() -> None:
            for one in names.releases("p"):
                assert isinstance(one, ListedNames)
                assert one.yanked is None or one.yanked.isprintable()
                assert one.key is None or one.key.isprintable()
                assert one.publisher.isprintable()

        holds(read)
        holds(lambda: names.recovered("p"))

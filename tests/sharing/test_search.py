"""Search without a registry: what is installed and a static index; and what a registry's answer is turned into."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install
from support.servers import send, serving

from cogen.cli.main import main
from cogen.errors import CogenError, UsageError
from cogen.sharing.search import RegistryQuery, choose, read_index
from cogen.sharing.sizes import shown, size_range


def card(id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": id,
        "version": "1.0",
        "project": f"cogen-plugin-{id}",
        "title": f"The {id}",
        "summary": "",
        "domains": [],
        "publisher": "acme",
        "languages": ["en"],
        "license": "MIT",
        "base": {"name": "Base", "digest": "sha256:1"},
        "parameters": 135_000_000,
        "signed": True,
        "key": "sha256:2",
        "yanked": False,
    } | changes


CARDS = [
    card("oncology", title="Oncology", summary="Staging of a tumour", domains=["medicine"], languages=["de", "en-GB"]),
    card("tumours", domains=["tumour staging"], license="Apache-2.0", parameters=3_000_000),
    card("power", title="Power grid", summary="Nothing of that", base={"name": "Other", "digest": "sha256:3"}),
]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (RegistryQuery("tumour staging"), ["tumours", "oncology"]),
        (RegistryQuery("TUMOURS"), ["tumours", "oncology"]),
        (RegistryQuery("nothing"), ["power"]),
        (RegistryQuery("xyzzy"), []),
        (RegistryQuery(), ["oncology", "tumours", "power"]),
        (RegistryQuery(domain="Medicine"), ["oncology"]),
        (RegistryQuery(language="en"), ["oncology", "tumours", "power"]),
        (RegistryQuery(language="de"), ["oncology"]),
        (RegistryQuery(license="apache-2.0"), ["tumours"]),
        (RegistryQuery(base="other"), ["power"]),
        (RegistryQuery(base="sha256:1"), ["oncology", "tumours"]),
        (RegistryQuery(size="<10M"), ["tumours"]),
        (RegistryQuery(size="100M-1B"), ["oncology", "power"]),
    ],
)
def test_filters_and_words(query: RegistryQuery, ids: list[str]) -> None:
    total, found = choose(CARDS, query)
    assert [one["id"] for one in found] == ids
    assert total == len(ids)


def test_chinese_words_begin_and_end_anywhere() -> None:
    """Nothing separates them; a query that is longer than a word still finds what shares pairs of characters."""
    cards = [*CARDS, card("health-law", title="中华人民共和国传染病防治法", summary="疫苗", languages=["zh"])]
    for query in ("传染病", "疫苗", "药品、疫苗", "传染病怎么防"):
        assert [one["id"] for one in choose(cards, RegistryQuery(query))[1]] == ["health-law"]
    assert choose(cards, RegistryQuery("足球"))[1] == []


def test_a_limit_hides_and_counts() -> None:
    total, found = choose(CARDS, RegistryQuery(limit=1))
    assert (total, len(found)) == (3, 1)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("<200M", (0, 2e8 - 1)),
        ("<= 200m", (0, 2e8)),
        (">=1B", (1e9, float("inf"))),
        ("1B-7B", (1e9, 7e9)),
        ("1-7B", (1e9, 7e9)),
        ("100k..2M", (1e5, 2e6)),
        ("100", (90, 110)),
    ],
)
def test_sizes(text: str, ends: tuple[float, float]) -> None:
    assert size_range(text) == pytest.approx(ends)


@pytest.mark.parametrize("text", ["", "big", "7B-1B", "<", "1X", "-1"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        size_range(text)


def test_sizes_are_those_of_the_registry() -> None:
    """The same words filter in both places."""
    from cogen_registry.search.sizes import size_range as theirs

    for text in ("<200M", ">=1B", "1B-7B", "135M", "1-7B", "0.5k..2k", "<=3"):
        assert size_range(text) == theirs(text)


def test_numbers_as_people_read_them() -> None:
    assert [shown(n) for n in (1, 999, 1000, 134_515_008, 999_999_999, 7e9, 2e12)] == [
        "1",
        "999",
        "1.0k",
        "134.5M",
        "1.0B",
        "7.0B",
        "2.0T",
    ]


def test_an_index_is_a_file_or_a_url(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"schema": 1, "title": "x", "experts": CARDS}))
    assert read_index(str(path)) == CARDS
    with serving(lambda handler: send(handler, path.read_bytes())) as server:
        assert read_index(f"{server.url}/api/v1/index.json") == CARDS
        assert server.seen[0][0] == "GET /api/v1/index.json"
    path.write_text("[1]")
    for place in (path, tmp_path / "none.json"):
        with pytest.raises(CogenError) as caught:
            read_index(str(place))
        assert "index.json" in str(caught.value.hint)


def test_without_a_registry(
    home: Path, site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGEN_CONFIG", str(home / "config"))
    install(site, "power", title="Power grid")
    (home / "config").mkdir()
    (home / "config" / "index.json").write_text(json.dumps({"experts": CARDS}))
    (home / "config" / "config.toml").write_text('index = "index.json"\n')
    assert main(["search", "tumour", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in result["experts"]] == ["tumours", "oncology"]
    assert main(["search", "grid"]) == 0
    text = capsys.readouterr()
    assert text.out.splitlines()[0].split() == [
        "id",
        "title",
        "publisher",
        "license",
        "size",
        "signed",
        "kind",
    ]
    assert "The tests" in text.out  # what is installed wins over the index
    assert "cogen login" in text.err


def test_a_registry_is_asked_and_a_terminal_obeys_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    evil = card("power", title="a\x1b]0;b\x07\nc")
    with serving(lambda handler: send(handler, {"total": 30, "items": [evil], "note": None})) as server:
        assert main(["search", "tumour", "staging", "--size", "<1B", "--registry", server.url]) == 0
    assert server.seen[0][0] == "GET /api/v1/experts?q=tumour+staging&size=%3C1B&limit=20"
    result = capsys.readouterr()
    assert "\x1b" not in result.out
    assert len(result.out.splitlines()) == 2
    assert "1 of 30" in result.err


def test_a_cold_search_loads_nothing_heavy(home: Path) -> None:
    with serving(lambda handler: send(handler, {"total": 0, "items": []})) as server:
        code = (
            "import sys; from cogen.cli.main import main\n"
            f"assert main(['search', 'x', '--registry', {server.url!r}]) == 0\n"
            "print(sorted({'torch', 'transformers', 'numpy', 'huggingface_hub', 'model_signing', 'cryptography'}"
            " & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

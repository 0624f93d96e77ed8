"""Composites of experts whose held-out text stays with their publishers: request, section, figures that come back."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from support.manifests import make_expert
from support.textless import PRIVATE_SUITE

from cogen.artifacts import private
from cogen.artifacts.card import write_card
from cogen.artifacts.lock import make_lock, verify, write_lock
from cogen.artifacts.private import (
    ADDED,
    REQUEST,
    TITLE,
    add_to_composite,
    check_figures,
    publisher_rows,
    write_private_parts,
)
from cogen.artifacts.report.report import render
from cogen.artifacts.summary import domains
from cogen.cli.main import main
from cogen.errors import CogenError, DigestError, EvalError, UsageError
from cogen.evals.figures import Figures, FiguresDocument, sign_figures
from cogen.trust import TrustError, new_key
from cogen.trust.pins import update

HOSTILE = "<script>alert(1)</script> | [x](javascript:y)"


@pytest.fixture
def secretive(tmp_path: Path, experts: Any) -> list[Any]:
    """The five experts, of which power has a private suite beside its public one."""
    own = make_expert(tmp_path / "own", "power", schema_version=2, private_suites=[PRIVATE_SUITE])
    return [own if expert.id == "power" else expert for expert in experts]


@pytest.fixture
def machine(secretive: list[Any]) -> Any:
    return SimpleNamespace(expert=lambda id: next(expert for expert in secretive if expert.id == id))


@pytest.fixture
def composite(plan: Any, folder: Path, matrix: Any, secretive: list[Any], trials: Any) -> Path:
    """As `cogen fuse` leaves it."""
    lock = make_lock(plan, 0.6, trials, folder, matrix)
    write_lock(lock, folder / "cogen.lock")
    write_card(folder, lock, matrix, secretive)
    (folder / "report.html").write_text(render(lock, plan, matrix, trials, secretive), encoding="utf-8")
    write_private_parts(folder, secretive, lock)
    return folder


def figures(composite: Path, **changes: Any) -> Figures:
    digest = json.loads((composite / "cogen.lock").read_text())["weights_digest"]
    model = {"name": "composite", "digest": digest, "value": 1.2345, "low": 1.2, "high": 1.3}
    document = {
        **{
            name: PRIVATE_SUITE[name]
            for name in ("title", "metric", "documents", "bytes", "text_digest", "date", "harness")
        },
        "suite": "notes",
        "model": model,
        "settings": {"dtype": "float32"},
    }
    return Figures.model_validate(document | changes)


def sent(folder: Path, document: FiguresDocument) -> Path:
    file = folder.parent / "figures.json"
    file.write_text(document.model_dump_json())
    return file


def receipt_with(key: str | None, publisher: str = "team") -> SimpleNamespace:
    """Of an expert that was installed from a registry, version 1.0."""
    return SimpleNamespace(version="1.0", key=key, publisher=publisher, root=None, registry="https://r.example")


def test_the_request_says_what_is_asked(composite: Path) -> None:
    """The command, the composite's digest, whose suite, what is sent and what is not."""
    text = (composite / REQUEST).read_text()
    digest = json.loads((composite / "cogen.lock").read_text())["weights_digest"]
    for wanted in (digest, "The power expert", "notes", PRIVATE_SUITE["text_digest"], "Not sent: any text"):
        assert wanted in text
    assert "cogen eval COMPOSITE --suite private/private.yaml --figures-only --sign > figures.json" in text
    assert "energy" not in text


def test_figures_of_publishers_stand_apart(composite: Path, matrix: Any) -> None:
    """In a section of their own, in report and card; no cell of the matrix, no average and no result is of them."""
    report, card = (composite / "report.html").read_text(), (composite / "README.md").read_text()
    for text in (report, card):
        assert "not reproducible by others" in text
        assert "1.2000 (1.1000 to 1.3000) bits per byte" in text
        assert "1.5000 (1.4000 to 1.6000) bits per byte" in text
    assert card.index(TITLE) > card.index("## Results")
    assert "power/notes" not in matrix.columns
    assert "notes" not in {domain.column for domain in domains(matrix)}
    lock = json.loads((composite / "cogen.lock").read_text())
    assert PRIVATE_SUITE["text_digest"] not in json.dumps(lock)


def test_without_private_suites_nothing_is_written(
    plan: Any, folder: Path, matrix: Any, experts: Any, trials: Any
) -> None:
    """Neither a request nor a section."""
    lock = make_lock(plan, 0.6, trials, folder, matrix)
    write_private_parts(folder, experts, lock)
    assert not (folder / REQUEST).exists()
    assert TITLE not in render(lock, plan, matrix, trials, experts)
    write_card(folder, lock, matrix, experts)
    assert TITLE not in (folder / "README.md").read_text()


def test_words_of_publishers_are_escaped(tmp_path: Path) -> None:
    """In the request, in HTML and in Markdown."""
    expert = make_expert(tmp_path, "power", schema_version=2, private_suites=[PRIVATE_SUITE | {"title": HOSTILE}])
    path = private.write_request(tmp_path, "sha256:0", [expert])
    for text in (path.read_text(), private.html_section([expert]), private.card_section([expert])):
        assert "<script>" not in text
    assert r"\[x\](javascript" in private.card_section([expert])


def test_figures_come_back(composite: Path, machine: Any, tmp_path: Path) -> None:
    """Into report and card, once; sent again they replace what was there, and the lock still holds."""
    before = {name: (composite / name).read_text() for name in ("report.html", "README.md")}
    added = add_to_composite(composite, sent(composite, FiguresDocument(figures=figures(composite))), machine)
    assert (added.expert, added.key, added.checked) == ("power", None, False)
    for name in before:
        text = (composite / name).read_text()
        assert text.count("1.2345 (1.2000 to 1.3000) bits per byte") == 1
        assert "sent back, not signed" in text
    key = tmp_path / "key.pem"
    pem = new_key(key)
    again = sign_figures(figures(composite, date="2026-03-04"), key, pem)
    assert add_to_composite(composite, sent(composite, again), machine).key is not None
    assert (composite / "report.html").read_text().count("1.2345") == 1
    assert "sent back, signed by the key" in (composite / "README.md").read_text()
    assert len((composite / ADDED).read_text().splitlines()) == 1
    from cogen.artifacts.lock import read_lock

    assert verify(read_lock(composite), composite) == []


def test_figures_that_no_longer_hold_are_named(composite: Path, machine: Any) -> None:
    """The composite was built anew, or its expert has another key: what goes out of the report is said."""
    stale = figures(composite).model_dump()
    stale["model"] |= {"digest": "sha256:" + "9" * 64}
    (composite / ADDED).write_text(FiguresDocument.model_validate({"figures": stale}).model_dump_json() + "\n")
    notes: list[str] = []
    reporter = SimpleNamespace(note=notes.append)
    add_to_composite(composite, sent(composite, FiguresDocument(figures=figures(composite))), machine, reporter)
    (note,) = notes
    assert note.startswith("figures of the suite notes no longer hold and are taken out: ")
    assert "sha256:999" in note
    assert len((composite / ADDED).read_text().splitlines()) == 1
    add_to_composite(composite, sent(composite, FiguresDocument(figures=figures(composite))), machine, reporter)
    assert len(notes) == 1


def test_a_report_of_before_takes_them_too(composite: Path, machine: Any) -> None:
    """Written by a CoGen that had no section: before its end."""
    text = (composite / "report.html").read_text()
    (composite / "report.html").write_text(private._SECTION.sub("", text))
    add_to_composite(composite, sent(composite, FiguresDocument(figures=figures(composite))), machine)
    found = (composite / "report.html").read_text()
    assert found.count("1.2345") == 1
    assert found.index("1.2345") < found.index("</main>")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_digest": "sha256:" + "1" * 64}, r"is that of no private suite here \(power/notes\)"),
        ({"suite": "other"}, "these figures are of other"),
        ({"documents": 41}, "of 41 documents"),
        (
            {"model": {"name": "m", "digest": "sha256:" + "2" * 64, "value": 1.2, "low": 1.1, "high": 1.3}},
            "these figures are of another model",
        ),
    ],
)
def test_figures_of_something_else_are_refused(
    composite: Path, machine: Any, changes: dict[str, Any], message: str
) -> None:
    """Another text, suite, size or model; nothing is written."""
    with pytest.raises(DigestError, match=message) as caught:
        add_to_composite(composite, sent(composite, FiguresDocument(figures=figures(composite, **changes))), machine)
    assert caught.value.hint
    assert not (composite / ADDED).exists()


def test_signatures_are_checked(composite: Path, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not hold; one by another key than the expert's own release has; the right one."""
    pem = new_key(tmp_path / "key.pem")
    document = sign_figures(figures(composite), tmp_path / "key.pem", pem)
    forged = document.model_copy(update={"figures": figures(composite, date="2026-03-04")})
    with pytest.raises(TrustError, match="is not the one that was signed"):
        add_to_composite(composite, sent(composite, forged), machine)
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    receipt = receipt_with("sha256:" + "3" * 64)
    monkeypatch.setattr("cogen.trust.receipts.receipt_of", lambda _: receipt)
    with pytest.raises(TrustError, match="these figures are signed with"):
        add_to_composite(composite, sent(composite, document), machine)
    receipt.key = document.check()
    added = add_to_composite(composite, sent(composite, document), machine)
    assert added.checked
    assert publisher_rows([machine.expert("power")], [added])[-1].source == "sent back, signed by the publisher's key"


def test_the_command(
    composite: Path, machine: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cogen eval COMPOSITE --add FILE`."""
    monkeypatch.setattr("cogen.host.Host.discover", lambda: machine)
    file = sent(composite, FiguresDocument(figures=figures(composite)))
    assert main(["eval", str(composite), "--add", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["expert"], found["figures"]["model"]["value"]) == ("power", 1.2345)
    assert main(["eval", str(composite), "--add", str(file), "--suite", "power"]) == 3
    assert "--add measures nothing" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is not a composite"):
        add_to_composite(composite.parent, file, machine)
    (composite / ADDED).write_text("{")
    with pytest.raises(CogenError, match="line 1, holds no figures"):
        add_to_composite(composite, file, machine)


def test_what_replaces_what(composite: Path, machine: Any, tmp_path: Path) -> None:
    """Newer figures replace older ones, and signed ones those of nobody; the other way round both are refused."""
    pem = new_key(tmp_path / "key.pem")
    new = sign_figures(figures(composite, date="2026-03-04"), tmp_path / "key.pem", pem)
    add_to_composite(composite, sent(composite, new), machine)
    before = (composite / ADDED).read_text()
    later = sent(composite, FiguresDocument(figures=figures(composite, date="2026-03-05")))
    with pytest.raises(TrustError, match="signed by nobody, and those that are there are signed by the key"):
        add_to_composite(composite, later, machine)
    old = sent(composite, sign_figures(figures(composite), tmp_path / "key.pem", pem))
    with pytest.raises(UsageError, match="of 2026-01-02, and those that are there are of 2026-03-04"):
        add_to_composite(composite, old, machine)
    assert (composite / ADDED).read_text() == before
    newest = sign_figures(figures(composite, date="2026-03-06"), tmp_path / "key.pem", pem)
    add_to_composite(composite, sent(composite, newest), machine)
    assert "2026-03-06" in (composite / ADDED).read_text()


def test_a_digest_that_another_expert_repeats(
    composite: Path, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is public: whose release the key signed is meant, in any order of the experts."""
    pem = new_key(tmp_path / "key.pem")
    document = sign_figures(figures(composite), tmp_path / "key.pem", pem)
    power = machine.expert("power")
    copycat = SimpleNamespace(id="copycat", spec=power.spec, distribution="copycat", version="1.0")
    receipts = {
        "copycat": receipt_with("sha256:" + "3" * 64, "rogue"),
        power.distribution: receipt_with(document.check()),
    }
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("cogen.trust.receipts.receipt_of", receipts.get)
    digest = document.figures.model.digest
    for experts in ([copycat, power], [power, copycat]):
        found = check_figures(document, digest, experts)
        assert (found.expert, found.checked) == ("power", True)


def test_unsigned_figures_of_a_digest_that_two_experts_name(composite: Path, machine: Any) -> None:
    """The manifest that says the same of them is meant; where both do, nobody can tell and nothing is put in."""
    document = FiguresDocument(figures=figures(composite))
    power = machine.expert("power")

    def copycat(**changes: Any) -> Any:
        suite = power.spec.private_suites[0].model_copy(update=changes)
        spec = power.spec.model_copy(update={"private_suites": (suite,), "publisher": "rogue"})
        return SimpleNamespace(id="copycat", spec=spec, distribution="copycat", version="1.0")

    digest = document.figures.model.digest
    for change in ({"id": "other"}, {"documents": 41}, {"bytes": 1}):
        for experts in ([copycat(**change), power], [power, copycat(**change)]):
            assert check_figures(document, digest, experts).expert == "power"
    with pytest.raises(TrustError, match="copycat and power name the same text digest") as refused:
        check_figures(document, digest, [copycat(), power])
    assert "ask for signed figures" in str(refused.value.hint)


def test_a_key_that_was_revoked(composite: Path, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as this user's machine has seen it: nothing new is put in, and what was put in before goes."""
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    pem = new_key(tmp_path / "key.pem")
    document = sign_figures(figures(composite), tmp_path / "key.pem", pem)
    power = machine.expert("power")
    receipt = receipt_with(document.check())
    monkeypatch.setattr("cogen.trust.receipts.receipt_of", lambda _: receipt)
    assert add_to_composite(composite, sent(composite, document), machine).checked
    update(receipt.registry, revoked={str(document.check()): "by team: lost"})
    with pytest.raises(TrustError, match="which was revoked by team: lost"):
        check_figures(document, document.figures.model.digest, [power])
    notes: list[str] = []
    plain = sent(composite, FiguresDocument(figures=figures(composite)))
    add_to_composite(composite, plain, machine, SimpleNamespace(note=notes.append))
    assert ["which was revoked" in note for note in notes] == [True]
    assert 'signature":null' in (composite / ADDED).read_text()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{" * 100_000, "is not JSON"),
        (b" " * 300_000, "is larger than"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"figures": {"model": {"value": NaN}}}', "NaN is not JSON"),
        (b"[]", "holds no figures"),
        (b'{"figures": null}', "holds no figures"),
    ],
)
def test_files_that_are_none(composite: Path, machine: Any, data: bytes, message: str) -> None:
    file = composite.parent / "figures.json"
    file.write_bytes(data)
    with pytest.raises(EvalError, match=message):
        add_to_composite(composite, file, machine)
    with pytest.raises(EvalError, match="cannot be read"):
        add_to_composite(composite, composite, machine)


def test_figures_of_a_day_that_has_not_come(composite: Path, machine: Any) -> None:
    """They would stand in the way of all that come after them."""
    early = sent(composite, FiguresDocument(figures=figures(composite, date="2999-01-01")))
    with pytest.raises(EvalError, match="of 2999-01-01, which has not come yet"):
        add_to_composite(composite, early, machine)
    assert not (composite / ADDED).exists()


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\x1c"])
def test_no_mark_ends_a_line(composite: Path, mark: str) -> None:
    """What Python takes for the end of a line would end the one that they are kept in."""
    with pytest.raises(ValidationError, match="control characters"):
        figures(composite, harness=f"lm-eval{mark}float32")

"""Figures of a private suite: what goes out, signed or not, and that nothing else does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cogen.cli.main import main
from cogen.errors import CogenError, EvalError
from cogen.evals.figures import FiguresDocument, read_figures, sign_figures
from cogen.evals.private import read_private, write_private
from cogen.trust import TrustError, fingerprint, new_key

SECRET = "Elsbeth Quill of Ward Seven"
#: Everything that a document of figures has.
FIELDS = {
    *("version", "measured_at", "suite", "title", "metric", "split", "documents", "bytes", "text_digest"),
    *("model", "against", "settings", "harness", "date"),
}


@pytest.fixture
def folder(tmp_path: Path, model: Any, tokenizer: Any) -> Path:
    path = tmp_path / "model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private suite; no expert is installed; temporary files are made where a test sees them."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("cogen.host.Host.discover", lambda: SimpleNamespace(experts=tuple))
    texts = [f"{SECRET}, visit {i}, was given the drug number {i * 7}" for i in range(6)]
    write_private(tmp_path / "private", "notes", "Clinical notes", texts[:2], texts[2:])
    return tmp_path / "private" / "private.yaml"


def figures(folder: Path, private: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["eval", str(folder), "--suite", str(private), "--figures-only", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_figures_only(
    folder: Path, private: Path, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value of the public road, sizes, digests: nothing else on stdout, nothing on stderr, no text anywhere."""
    before = set(tmp_path.rglob("*"))
    found = figures(folder, private, capsys)
    task = read_private(private)
    (expected,) = run([task.bound()], use_cache=False)
    assert found["signature"] is None
    own = found["figures"]
    assert own.keys() == FIELDS
    assert own["model"] == {
        "name": "model",
        "digest": own["model"]["digest"],
        "value": pytest.approx(expected.value, abs=1e-6),
        "low": pytest.approx(expected.low, abs=1e-6),
        "high": pytest.approx(expected.high, abs=1e-6),
    }
    assert (own["documents"], own["bytes"], own["text_digest"]) == (4, task.sizes["test"], task.digests["test"])
    assert (own["metric"], own["split"], own["settings"]["dtype"]) == ("bits_per_byte", "test", "float32")
    assert "Quill" not in json.dumps(found)
    for path in set(tmp_path.rglob("*")) - before:
        assert path.is_dir() or b"Quill" not in path.read_bytes(), path
    assert not (tmp_path / "cache" / "results").exists()


def test_people_see_the_same_figures(folder: Path, private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --figures-only: a table, beside another model; the JSON is that of --figures-only."""
    arguments = ["eval", str(folder), "--suite", str(private), "--against", str(folder)]
    assert main(arguments) == 0
    table = capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"]
    value = found["model"]
    assert f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]" in table.out
    assert found["against"] == value
    assert "Quill" not in table.out + table.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "PRIVATE", "--suite", "power"], "a private suite is measured alone"),
        (["--suite", "PRIVATE", "--level", "quick"], "a private suite is measured in full"),
        (["--figures-only"], "are for a private suite"),
        (["--sign"], "are for a private suite"),
        (["--suite", "gone/private.yaml"], "gone/private.yaml is missing"),
        (["--suite", "PRIVATE", "--publish"], "there is no registry to send the figures to"),
    ],
)
def test_mistakes_of_the_command(
    arguments: list[str],
    message: str,
    folder: Path,
    private: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line and a hint; nothing of the text."""
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("COGEN_REGISTRY", raising=False)
    new_key(tmp_path / "config" / "keys" / "key.pem")
    assert main(["eval", str(folder), *(str(private) if a == "PRIVATE" else a for a in arguments)]) != 0
    captured = capsys.readouterr()
    assert message in captured.err
    assert "hint:" in captured.err
    assert "Quill" not in captured.err + captured.out


@pytest.mark.parametrize("missing", ["key", "login"])
def test_what_is_missing_is_said_before_measuring(
    missing: str,
    folder: Path,
    private: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Measuring may take hours."""
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("COGEN_REGISTRY", raising=False)
    monkeypatch.setattr("cogen.api.private.evaluate_private", lambda *_, **__: pytest.fail("it was measured"))
    if missing == "login":
        new_key(tmp_path / "config" / "keys" / "key.pem")
    assert main(["eval", str(folder), "--suite", str(private), "--publish" if missing == "login" else "--sign"]) != 0
    assert ("key.pem" if missing == "key" else "no registry to send") in capsys.readouterr().err


def test_figures_are_shown_where_sending_fails(
    folder: Path,
    private: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody measures twice because a registry was not there."""
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COGEN_REGISTRY", "http://127.0.0.1:9")
    monkeypatch.setenv("COGEN_TOKEN", "secret")
    new_key(tmp_path / "config" / "keys" / "key.pem")
    assert main(["eval", str(folder), "--suite", str(private), "--publish"]) != 0
    captured = capsys.readouterr()
    assert "on the private suite notes" in captured.out
    (line,) = [line for line in captured.err.splitlines() if line.startswith('{"figures"')]
    assert FiguresDocument.model_validate_json(line).check() is not None
    assert "Quill" not in captured.out + captured.err


def test_a_document_that_does_not_fit_is_not_shown(
    folder: Path, private: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the errors of public suites quote the document."""
    (private.parent / "task.yaml").write_text(
        "output_type: multiple_choice\ndoc_to_text: text\ndoc_to_target: text\ndoc_to_choice: ['no', 'yes']\n"
    )
    private.write_text(
        "id: notes\ntitle: Notes\nmetric: acc\ntask: task.yaml\nsalt: salt\ndata: {dev: dev.jsonl, test: test.jsonl}\n"
    )
    assert main(["eval", str(folder), "--suite", str(private)]) == 1
    captured = capsys.readouterr()
    assert "private/notes: a document does not fit its task file" in captured.err
    assert "Quill" not in captured.err + captured.out


def test_one_document_gives_no_figure(
    folder: Path, private: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be that of a text."""
    write_private(tmp_path / "one", "one", "One", [f"{SECRET} a"], [f"{SECRET} b"])
    assert main(["eval", str(folder), "--suite", str(tmp_path / "one")]) == 1
    assert "one: 1 document gives no interval" in capsys.readouterr().err


def test_signed_figures(
    folder: Path,
    private: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They hold with the key that signed, and with not one figure changed; a release's signature is none of theirs."""
    monkeypatch.setenv("COGEN_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("COGEN_REGISTRY", raising=False)
    key = tmp_path / "own.pem"
    pem = new_key(key)
    found = figures(folder, private, capsys, "--key", str(key))
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(found))
    document = read_figures(file)
    assert document.check() == fingerprint(pem)
    changed = document.figures.model_copy(update={"documents": 5})
    with pytest.raises(TrustError, match="this set of figures is not the one that was signed"):
        FiguresDocument(figures=changed, signature=document.signature).check()
    other = sign_figures(document.figures, key, new_key(tmp_path / "other.pem"))
    with pytest.raises(TrustError, match="signature"):
        other.check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "holds no figures: figures: Field required"),
        ('{"figures": {"text": "Quill"}}', "holds no figures: figures"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    """A field too many is a mistake: text cannot travel in it."""
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(EvalError, match=message):
        read_figures(tmp_path / "f.json")
    with pytest.raises(CogenError, match="cannot be read"):
        read_figures(tmp_path / "gone.json")

"""Before anything leaves: the packing list, the question, and the mark that keeps a project at home."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from support import weights, wheels
from support.hub import Registry
from support.manifests import manifest
from support.private import lines, pinned, with_sources
from support.trees import built, tree
from support.users import Users, publisher

import cogen
from cogen.cli.main import main
from cogen.cli.render_packing import packing_data, packing_lines
from cogen.errors import SpecError
from cogen.sharing.publishing import packing, source_archive
from cogen.sharing.publishing.private_marker import MARK, take_away
from cogen.sharing.wheels import read_wheel

CHINESE = "患者王某，男，六十七岁，因胸痛三小时入院，既往高血压病史十年，规律服药，血压控制尚可，余无特殊。"
SAMPLES = lines(("a public text of the web", "web"), ("another one", "web"), (CHINESE, "records"))


def packed_tree(folder: Path, id: str = "ward", **options: Any) -> Path:
    """A tree whose samples are of two sources; the card says of one that its text stays."""
    sources = {"name": "web", "leaves": "heldout"}, {"name": "records", "leaves": "figures", "personal_data": "present"}
    document = with_sources(manifest(id), *sources)
    changes = {"data": document["data"], "samples": pinned("samples.jsonl", SAMPLES)}
    place = tree(folder, id, **options, **changes)
    (place / f"cogen_plugin_{id}" / "samples.jsonl").write_bytes(SAMPLES)
    return place


def test_every_file_and_every_text(tmp_path: Path) -> None:
    """Of a wheel: its members with their bytes, texts by source, and what the card says of each."""
    wheel = built(packed_tree(tmp_path / "plugin"), tmp_path / "dist")
    found = cogen.packing_list(wheel)
    with zipfile.ZipFile(wheel) as archive:
        assert {file.path: file.bytes for file in found.files} == {m.filename: m.file_size for m in archive.infolist()}
    assert found.bytes == sum(file.bytes or 0 for file in found.files)
    files = {file.path.partition("/")[2]: file for file in found.files}
    web, records = files["samples.jsonl"].texts
    assert web == packing.PackedText("web", "CC0-1.0", 2, 35, ("a public text of the web", "another one"))
    assert (records.documents, records.bytes) == (1, len(CHINESE.encode()))
    assert records.begins == (CHINESE,)
    (dev,) = files["suites/dev.jsonl"].texts
    assert (dev.source, dev.documents) == (None, 10)
    assert files["weights/adapter_model.safetensors"].texts == files["expert.toml"].texts == ()
    assert "A long text." not in files["expert.toml"].wording
    assert files["weights/adapter_model.safetensors"].wording == ()
    assert files["METADATA"].texts[0].begins == ("A long text.",)
    assert [(s.name, s.leaves, s.personal_data, s.documents) for s in found.sources] == [
        ("web", "heldout", "none", 2),
        ("records", "figures", "present", 1),
    ]
    assert found.documents == 2 + 1 + 10 + 30 + 1
    assert found.sentence().endswith("with 44 texts: 2 of source web, 1 of source records")


def test_long_texts_are_cut_and_few_are_shown(tmp_path: Path) -> None:
    """The first words of some, not of all."""
    text = lines(*((f"{n} " + "word " * 40, None) for n in range(9)))
    (found,) = packing._texts("a/b.jsonl", lambda: text)
    assert found.documents == 9
    assert [len(begin) for begin in found.begins] == [61, 61, 61]
    assert found.begins[2].startswith("2 word word")
    assert found.begins[2].endswith("…")


def test_text_that_is_no_text_file(tmp_path: Path) -> None:
    """The header of weights may tell of the training data; a line that is not JSON leaves like any other."""
    weights = save({"a": np.zeros(2, np.float32)}, metadata={"format": "pt", "captions": "Frau Müller, 74"})
    (header,) = packing._texts("p/weights/model.safetensors", lambda: weights)
    assert header.begins == ("captions: Frau Müller, 74",)
    plain = save({"a": np.zeros(2, np.float32)}, metadata={"format": "pt"})
    assert packing._texts("p/weights/model.safetensors", lambda: plain) == ()
    (broken,) = packing._texts("p/notes.jsonl", lambda: b"not JSON\n")
    assert broken == packing.PackedText(None, None, 1, 9, ("not JSON",))
    for name in ("config.json", "tokenizer.json", "vocab.txt", "merges.txt", "adapter_config.json"):
        assert packing._texts(f"p/weights/{name}", lambda: b"{}") == ()
    assert packing._texts("p/weights/patients.json", lambda: b"{}") != ()
    (license,) = packing._texts("p-1.dist-info/licenses/texts.txt", lambda: b"a patient")
    assert license.begins == ("a patient",)


PATIENT = "Frau Anna Quill, 74, kam mit Brustschmerzen"
CASES = {
    "p/suites/heldout.yaml": f'task: x\ndescription: "{PATIENT}"\n',
    "p/suites/other.yml": f"task: x  # {PATIENT}\n",
    "p/__init__.py": f'"""{PATIENT}"""\n',
    "p/hooks.py": "x = 1\n# Frau Anna Quill, 74,\n# kam mit Brustschmerzen\n",
    "p/texts.py": f'NAME = "{PATIENT}"\n',
    "p/expert.toml": f'title = "x"\n# {PATIENT}\n',
    "p/more.toml": f'[data]\nbiases = "{PATIENT}"\n',
    "p/weights/chat_template.jinja": f"{{{{ x }}}}\n{{# {PATIENT} #}}\n",
    "p/weights/config.json": json.dumps({"note": PATIENT}),
    "p/weights/tokenizer_config.json": json.dumps({"chat_template": PATIENT}),
    "p/stubs.pyi": f"# {PATIENT}\n",
    "p/broken.py": f'"""{PATIENT}\n',
    "p/settings.cfg": f"note = {PATIENT}\n",
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_in_code_and_settings(name: str) -> None:
    """Whatever file holds a sentence, its first words are shown."""
    content = CASES[name].encode()
    found = packing._file("wheel", name, len(content), lambda: content)
    assert any("Frau Anna Quill, 74, kam mit Brustschmerzen" in begin for begin in found.wording)
    listed = packing.PackingList("p", "1", (found,), ())
    assert any("Frau Anna Quill" in line for line in packing_lines(listed))
    assert json.loads(json.dumps(packing_data(listed)))["files"][0]["written"] >= 1


def test_chinese_in_a_comment_and_few_of_many() -> None:
    """The longest are shown first, and how many there are."""
    lines = [f"# note {n} on what it does\nx{n} = {n}\n" for n in range(40)]
    content = ("".join(lines) + "# 患者王伟家住东城街道因胸闷气短于三月入院长期服用阿司匹林并且血压偏高\n").encode()
    found = packing._file("wheel", "p/a.py", len(content), lambda: content)
    assert found.written == 41
    assert len(found.wording) == packing.WORDING_SHOWN
    assert found.wording[0].startswith("患者王伟")
    assert "      written in it, of 41:" in list(packing_lines(packing.PackingList("p", "1", (found,), ())))


def test_weights_that_are_uploaded_apart(tmp_path: Path, users: Users, registry: Registry) -> None:
    """Each file of their repository is on the list, also those that publishing writes."""
    place = tree(tmp_path / "plugin", "apart", apart=True)
    (place / "weights" / "README.md").write_text("Trained on the notes of ward 3.")
    (place / "weights" / "optimizer.bin").write_bytes(b"never sent")
    found = cogen.packing_list(place)
    sent = {file.path: file.bytes for file in found.files if file.to == "repository apart"}
    assert sent == {
        "README.md": 31,
        "adapter_config.json": len(weights.adapter()["adapter_config.json"]),
        "adapter_model.safetensors": (place / "weights" / "adapter_model.safetensors").stat().st_size,
        "cogen-manifest.json": None,
        "model.sig": None,
    }
    (readme,) = [file for file in found.files if file.path == "README.md"]
    assert readme.texts[0].begins == ("Trained on the notes of ward 3.",)


def test_a_folder_of_weights_with_something_else(tmp_path: Path) -> None:
    """A card that says how far text may go lets only files of a model go with the weights."""
    document = with_sources(manifest("apart"), {"leaves": "heldout"})
    place = tree(tmp_path / "plugin", "apart", apart=True, data=document["data"])
    (place / "weights" / "patients.txt").write_text("a name")
    with pytest.raises(SpecError, match=r"apart: patients\.txt would be uploaded with the weights"):
        cogen.packing_list(place)


@pytest.mark.usefixtures("quick")
def test_publish_shows_it_and_asks(
    registry: Registry, users: Users, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without a terminal and without --yes nothing is sent; --dry-run gives the list, also as JSON."""
    team = publisher(registry, users, "packers")
    tree(team.home / "plugin", "packed")
    before = len(registry.seen)
    refused = team.refused("publish", "plugin", code=3)
    assert "confirmation required" in refused
    assert "with 46 texts? A released" in refused
    assert "`cogen publish --dry-run` (with --json for scripts), then pass --yes" in refused
    listed = team.ok("publish", "plugin", "--dry-run")["packing"]
    assert [seen for seen in registry.seen[before:] if not seen.startswith("GET ")] == []
    assert listed["documents"] == 46
    assert {file["to"] for file in listed["files"]} == {"wheel"}
    assert listed["sources"][0]["name"] == "Invented words"
    with team.there():
        assert main(["publish", "plugin", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "cogen_plugin_packed/suites/test.jsonl" in shown
    assert "30 documents" in shown
    assert "“packedtest0word0 packedtest0word1" in shown
    assert "source Invented words of packed: CC0-1.0, leaves: not said, personal data none; 0 documents" in shown
    assert team.ok("publish", "plugin", "--yes")["packing"] == listed


@pytest.mark.usefixtures("quick")
def test_the_mark_goes_only_by_publishing(registry: Registry, users: Users) -> None:
    """A project that is marked as private is released by `cogen publish`, and refused from any other tool."""
    team = publisher(registry, users, "marked")
    place = tree(team.home / "plugin", "marked", classifiers=(MARK, "Topic :: Text Processing"))
    wheel = built(place, team.home / "dist")
    assert MARK in read_wheel(wheel).metadata
    answer = team.ok("publish", "plugin", "--yes")
    assert answer["state"] == "released"
    sent = read_wheel(place / "dist" / wheel.name)
    assert "Private" not in sent.metadata
    assert "Classifier: Topic :: Text Processing" in sent.metadata
    assert hashlib.sha256(sent.path.read_bytes()).hexdigest() == answer["sha256"]


def test_taking_the_mark_away(tmp_path: Path) -> None:
    """One line of the fields goes, RECORD follows; the long text may say what it likes. Twice gives the same bytes."""
    text = (
        "Metadata-Version: 2.4\nName: cogen-plugin-power\nVersion: 1.0\nSummary: An expert for tests\n"
        "classifier: Private :: Do Not Upload\nRequires-Dist: cogen-core\n\nClassifier: Private :: Do Not Upload\n"
    )
    wheel = wheels.build(tmp_path, metadata=text)
    other = Path(shutil.copy(wheel, tmp_path / "copy.whl"))
    assert take_away(wheel)
    assert take_away(other)
    assert wheel.read_bytes() == other.read_bytes()
    found = read_wheel(wheel)
    assert found.metadata == text.replace("classifier: Private :: Do Not Upload\n", "")
    before = wheel.read_bytes()
    assert not take_away(wheel)
    assert wheel.read_bytes() == before


@pytest.mark.usefixtures("quick")
def test_the_wheel_with_pinned_weights_is_the_one_that_was_shown(
    registry: Registry, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that puts another file into the second wheel is stopped before it is sent."""
    team = publisher(registry, users, "purger")
    place = tree(team.home / "plugin", "twice", apart=True)
    from cogen.sharing.publishing import publish

    real = publish.hub.pin

    def pin(folder: Path, *rest: Any) -> Path:
        (folder / "cogen_plugin_twice" / "late.txt").write_text("a text that nobody saw")
        return real(folder, *rest)

    monkeypatch.setattr(publish.hub, "pin", pin)
    assert "differs in cogen_plugin_twice/late.txt from the one whose packing list was shown" in team.refused(
        "publish", str(place), "--yes"
    )
    assert "has no expert twice" in team.refused("add", "twice")


def test_check_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The wheel is built and checked; texts that a source archive would hold are named; nothing is sent."""
    place = tree(tmp_path / "plugin", "ward")
    for name in ("texts/patient-1.txt", "private/test.jsonl", "private/salt", "tests/data.json"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("a name")
    assert main(["check", str(place), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"]
    assert {check["ok"] for check in answer["experts"]["ward"]} == {True}
    assert answer["packing"]["documents"] == 46
    assert answer["source_archive"]["texts"] == ["private/salt", "private/test.jsonl", "texts/patient-1.txt"]
    assert main(["check", str(place)]) == 0
    shown = capsys.readouterr()
    assert "would hold 3 files of text: private/salt, private/test.jsonl, texts/patient-1.txt" in shown.err
    assert "packing list of cogen-plugin-ward 1.0" in shown.out
    main(["check", str(place), "--level", "smoke", "--json"])  # the same folder, its weights opened where they lie
    answer = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["ok"] for one in answer["checks"]}["weights"] is True
    assert "packing" not in answer


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("texts/patient-1.md", True),
        ("notes/a.rst", True),
        ("NOTICE_patients.csv", True),
        ("readme.jsonl", True),
        ("rows.ndjson", True),
        ("README.md", False),
        ("CONTRIBUTING.md", False),
        ("LICENSE.txt", False),
        ("requirements.txt", False),
        ("licenses/LICENSE.txt", False),
        ("docs/index.md", False),
        ("src/cogen_plugin_ward/samples.jsonl", False),
        ("src/cogen_plugin_ward/private/test.jsonl", True),
    ],
)
def test_what_counts_as_text_in_a_source_archive(path: str, text: bool) -> None:
    """Prose at the top describes the project; in a folder it may be what somebody trained on. Data always may."""
    packages = {PurePosixPath("src/cogen_plugin_ward")}
    assert source_archive._is_text(PurePosixPath(path), packages) is text


def test_check_of_a_folder_that_must_not_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rule of private text, before anything is installed or sent; publish ends with the same words."""
    place = packed_tree(tmp_path / "plugin")
    assert main(["check", str(place), "--json"]) == 1
    (failed,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["ok"] is False]
    assert failed["name"] == "private text"
    assert "the personal data of source records is present" in failed["message"]
    assert main(["publish", str(place), "--dry-run", "--json"]) == 1
    assert "private text: " in json.loads(capsys.readouterr().out)["error"]

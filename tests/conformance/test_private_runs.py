"""Private text in a comment, a description or a docstring: found where the text is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomlkit
from support.hospital import chinese, english
from support.private import expert_with, private_files, private_manifest
from support.training import agree, recipe_document, source

from cogen.conformance.private_runs import check_private_runs, package_files
from cogen.conformance.result import Check
from cogen.host import Expert

WORDS = english(3).split()
RUN = " ".join(WORDS[2:10])
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in RUN)


def home(folder: Path, leaves: str = "figures") -> Path:
    """A recipe's folder with texts of patients, and a held-out one in ``private/`` alone."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    for number in range(20):
        (texts / f"{number}.txt").write_text(f"{english(number)}\n\n{chinese(number)}", encoding="utf-8")
    (folder / "private").mkdir()
    (folder / "private" / "test.jsonl").write_text(json.dumps({"text": english(99)}) + "\n")
    document = recipe_document({})
    document["base"] = "smollm2-135m"
    personal = "present" if leaves == "figures" else "none"
    document["corpus"] |= {"min_characters": 40, "max_characters": 400}
    document["corpus"]["sources"] = [source(heldout=False, leaves=leaves, personal_data=personal)]
    agree(document["card"], document["corpus"]["sources"])
    (folder / "recipe.toml").write_text(tomlkit.dumps(document))
    return folder


def package(folder: Path, name: str = "", content: str = "") -> Expert:
    more = {name: content.encode()} if name else {}
    return expert_with(folder, private_manifest(), private_files() | more)


def checked(expert: Expert, folder: Path) -> Check:
    (found,) = check_private_runs(package_files(expert.root), folder)
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hooks.py", f'"""{RUN}"""\n'),
        ("hooks.py", f'NAME = b"{ESCAPED}"  # no escape in bytes\nOTHER = "{ESCAPED}"\n'),
        ("hooks.py", f"x = 1\n# {' '.join(WORDS[2:6])}\n# {' '.join(WORDS[6:10])}\n"),
        ("suites/heldout.yaml", f'description: "{RUN}"\n'),
        ("suites/heldout.yaml", f"task: x\n# {RUN}\n"),
        ("README.md", f"# Ward\n\n{RUN}\n"),
        ("more.toml", f'x = "{ESCAPED}"\n'),
        ("weights/chat_template.jinja", f"{{# {RUN} #}}"),
        ("hooks.py", f"# {chinese(4)[4:16]}\n"),
        ("hooks.py", f"# {' '.join(english(99).split()[:8])}\n"),
    ],
)
def test_a_run_of_private_text(tmp_path: Path, name: str, content: str) -> None:
    """Refused with the file's name; the text is not repeated."""
    found = checked(package(tmp_path / "package", name, content), home(tmp_path / "home"))
    assert found.ok is False
    assert found.message.startswith(f"{name} holds ")
    assert "of private text" in found.message
    assert WORDS[1] not in found.message


@pytest.mark.parametrize("content", ["", f"# {' '.join(WORDS[2:9])}\n", f"# {chinese(4)[4:15]}\n"])
def test_less_than_a_run(tmp_path: Path, content: str) -> None:
    """Seven words, or eleven characters, may be anybody's."""
    found = checked(package(tmp_path / "package", "hooks.py", content), home(tmp_path / "home"))
    assert (found.ok, found.message[:24]) == (True, "no run of private text i")


def test_where_there_is_no_private_text(tmp_path: Path) -> None:
    """Text that ships may stand anywhere; what cannot be read is not called checked."""
    folder = home(tmp_path / "home", "heldout")
    (folder / "private" / "test.jsonl").unlink()
    expert = package(tmp_path / "package", "hooks.py", f"# {RUN}\n")
    assert list(check_private_runs(package_files(expert.root), folder)) == []
    other = home(tmp_path / "other")
    for file in (other / "texts").iterdir():
        file.unlink()
    found = checked(package(tmp_path / "package"), other)
    assert found.ok is None
    assert found.message.startswith("not checked, the private text cannot be read")


def records(folder: Path, name: str, content: bytes, **fields: object) -> Path:
    """A home whose one source is this file."""
    place = home(folder)
    for file in (place / "texts").iterdir():
        file.unlink()
    (place / "texts" / name).write_bytes(content)
    document = tomlkit.parse((place / "recipe.toml").read_text()).unwrap()
    document["corpus"]["sources"][0] |= {"members": ["**/*"]} | fields
    (place / "recipe.toml").write_text(tomlkit.dumps(document))
    return place


ADDRESS = "Okafor Emeka of Harbour Lane nineteen above the bakery"


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("a.csv", f"who,text\n{ADDRESS},{english(5)}\n", {"extract": "csv"}),
        ("a.jsonl", json.dumps({"who": ADDRESS, "text": english(5)}), {"extract": "json"}),
        ("a.json", json.dumps([{"who": ADDRESS.replace("O", "\\u004f"), "text": english(5)}]), {"extract": "json"}),
        ("a.xml", f"<r><who>{ADDRESS}</who><p>{english(5)}</p></r>", {"extract": "xml", "field": "p"}),
        ("a.txt", f"{ADDRESS}\n", {"extract": "text"}),
        ("a.txt", f"{english(5)}\n\n{english(5)}\n\n{ADDRESS}", {"extract": "text", "drop": ["Harbour"]}),
        ("a.md", f"# {ADDRESS}\n\n{english(5)}\n", {"extract": "markdown"}),
    ],
)
def test_all_text_of_a_source_counts(tmp_path: Path, name: str, content: str, fields: dict[str, object]) -> None:
    """Also what is no document: another column, a line that is too short, what `drop` leaves out."""
    place = records(tmp_path / "home", name, content.replace("\\\\u", "\\u").encode(), **fields)
    found = checked(package(tmp_path / "package", "hooks.py", f"# {ADDRESS}\n"), place)
    assert (found.ok, found.message[:14]) == (False, "hooks.py holds")


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le", "big5", "hz"])
def test_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    """A README as Windows writes it in China is read like the text itself."""
    run = f"{chinese(4)[4:40]}\n"
    run = "病歷記錄患者王某今日因胸痛入院治療並已經告知家屬請大家注意保密\n" if encoding == "big5" else run
    place = home(tmp_path / "home")
    (place / "texts" / "more.txt").write_text(run, encoding="utf-8")
    expert = package(tmp_path / "package")
    (expert.root / "README.md").write_bytes(run.encode(encoding))
    found = checked(expert, place)
    assert (found.ok, found.message[:15]) == (False, "README.md holds")


def test_names_and_headers(tmp_path: Path) -> None:
    """The name of a file, and what a trainer wrote into the header of its weights."""
    place = home(tmp_path / "home")
    found = checked(package(tmp_path / "one", f"{chinese(4)[4:20]}.py", ""), place)
    assert (found.ok, " holds " in found.message) == (False, True)
    expert = package(tmp_path / "two")
    header = json.dumps({"__metadata__": {"caption": RUN}}).encode()
    (expert.root / "weights" / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert checked(expert, place).message.startswith("weights/adapter_model.safetensors holds ")


def test_lines_under_another_name(tmp_path: Path) -> None:
    """A line of samples is refused where it is private text, whatever source it names, and passes with a chance run."""
    place = home(tmp_path / "home")
    other = " ".join(f"word{n}" for n in range(40))
    lines = (english(3), False), (f"{RUN} {other}", True), (other, True), (chinese(3), False)
    for place_of, (line, ok) in enumerate(lines):
        row = json.dumps({"text": line, "source": "web", "license": "CC0-1.0"})
        hidden = json.dumps({"text": other, "source": "web", "license": "CC0-1.0", "note": line})
        for number, content in enumerate((row, hidden)):
            expert = package(tmp_path / f"{place_of} {number}", "samples.jsonl", content + "\n")
            found = checked(expert, place)
            assert (found.ok, found.message[:27] == "line 1 of samples.jsonl is ") == (ok, not ok)


@pytest.mark.parametrize("name", ["ward.toml", "recipes.toml"])
def test_a_recipe_of_another_name(tmp_path: Path, name: str) -> None:
    place = home(tmp_path / "home")
    (place / "recipe.toml").rename(place / name)
    found = checked(package(tmp_path / "package", "hooks.py", f"# {RUN}\n"), place)
    assert found.ok is False


def test_texts_of_nobody(tmp_path: Path) -> None:
    """The starter texts of `cogen new` are in its package and in its texts."""
    from cogen.text.starters import starter_texts

    place = home(tmp_path / "home")
    (place / "texts" / "starter-01.txt").write_text(starter_texts()[40] + "\n")
    assert checked(package(tmp_path / "package", "samples.jsonl", json.dumps(starter_texts()[40])), place).ok


@pytest.mark.parametrize("fold", [False, True])
def test_in_the_other_characters(tmp_path: Path, fold: bool) -> None:
    """A recipe that compares traditional and simplified Chinese as one does so here, too."""
    pytest.importorskip("opencc")
    run = "病歷記錄顯示該患者王偉因胸悶氣短於三月入院既往有咳嗽病史長期服用"
    place = records(
        tmp_path / "home", "a.txt", "病历记录显示该患者王伟因胸闷气短于三月入院既往有咳嗽病史长期服用".encode()
    )
    document = tomlkit.parse((place / "recipe.toml").read_text()).unwrap()
    document["corpus"] |= {"segmentation": "unicode", "fold_chinese": fold}
    (place / "recipe.toml").write_text(tomlkit.dumps(document))
    assert checked(package(tmp_path / "package", "hooks.py", f"# {run}\n"), place).ok is not fold

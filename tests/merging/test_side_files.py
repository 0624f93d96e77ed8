"""What lies beside weights, configuration and tokenizer is taken over, or named as left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cogen.merging.side_files import copied_side_files, copy_side_files, left_behind, left_behind_note
from cogen.merging.writer import MODEL_FILES, copy_model_files

_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    """An embedding model with pooling, a processor and a chat template by name."""
    folder = tmp_path / "donor"
    for name in (
        *("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"),
        *("sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"),
        *(
            "additional_chat_templates/tool_use.jinja",
            "model.safetensors",
            "README.md",
            ".gitattributes",
            "LICENSE.txt",
        ),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{{}} {name}")
    (folder / "modules.json").write_text(json.dumps(_MODULES))
    return folder


def _names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_all_that_is_known_is_copied_byte_for_byte(donor: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    copy_side_files(donor, tmp_path / "out")
    assert _names(tmp_path / "out") == {
        *("modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("preprocessor_config.json", "additional_chat_templates/tool_use.jinja"),
    }
    assert all((tmp_path / "out" / n).read_bytes() == (donor / n).read_bytes() for n in _names(tmp_path / "out"))
    assert left_behind(donor, MODEL_FILES) == []
    assert left_behind_note(donor, MODEL_FILES, "it") == []


def test_a_module_with_weights_is_left_behind_with_the_list_that_names_it(donor: Path, tmp_path: Path) -> None:
    """A list that names a folder which is not there would make sentence-transformers fail."""
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (donor / "modules.json").write_text(json.dumps([*_MODULES, dense]))
    (donor / "3_Dense").mkdir()
    for name in ("config.json", "model.safetensors"):
        (donor / "3_Dense" / name).write_text("x")
    (tmp_path / "out").mkdir()
    copy_side_files(donor, tmp_path / "out")
    assert not any(name.startswith(("3_Dense", "modules")) for name in _names(tmp_path / "out"))
    left = ["3_Dense/config.json", "3_Dense/model.safetensors", "modules.json"]
    assert left_behind(donor, MODEL_FILES) == left
    assert left_behind_note(donor, MODEL_FILES, "the base") == [f"left behind of the base: {', '.join(left)}"]


def test_what_nobody_knows_is_named(donor: Path) -> None:
    for number in range(7):
        (donor / f"extra{number}.json").write_text("{}")
    (note,) = left_behind_note(donor, MODEL_FILES, "it")
    shown = ", ".join(f"extra{n}.json" for n in range(5))
    assert note == f"left behind of it: {shown} and 2 more"


@pytest.mark.parametrize(
    "modules", ['[{"path": "../secret"}]', '[{"path": "/etc"}]', '[{"path": 3}, 7]', "{}", "not json", "[" * 100_000]
)
def test_a_list_of_modules_leads_nowhere_else(donor: Path, tmp_path: Path, modules: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text("{}")
    (donor / "modules.json").write_text(modules)
    assert all(not name.startswith(("..", "/")) for name in copied_side_files(donor))
    assert not any("secret" in name for name in copied_side_files(donor))


def test_whatever_copies_a_model_copies_them(donor: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        (donor / name).write_text("{}")
    (tmp_path / "out").mkdir()
    copy_model_files(donor, tmp_path / "out")
    assert {"config.json", "preprocessor_config.json", "1_Pooling/config.json"} <= _names(tmp_path / "out")

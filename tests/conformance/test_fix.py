"""`cogen check FOLDER` and `--fix`: what can be computed is mended, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_adapter, save_model
from support.trees import tree

import cogen
from cogen.cli.main import main
from cogen.conformance import check_tree
from cogen.conformance.fix import fix_manifest
from cogen.conformance.tree import read_tree
from cogen.errors import SpecError, UsageError


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Its manifest, of an adapter of attention and feed-forward layers."""
    base = save_model(tmp_path / "base", dtype="bfloat16")
    adapter = save_adapter(tmp_path / "adapter", dtype="bfloat16")
    made = cogen.new_from("tide", adapter, tmp_path / "plugin", base=base)
    (manifest,) = made.folder.glob("src/*/expert.toml")
    return manifest


def edited(manifest: Path, *changes: tuple[str, str]) -> str:
    text = manifest.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    manifest.write_text(text, encoding="utf-8")
    return text


def test_a_right_manifest_is_left_alone(plugin: Path) -> None:
    before = plugin.read_bytes(), plugin.stat().st_mtime_ns
    assert cogen.fix(plugin.parents[2]) == ()
    assert (plugin.read_bytes(), plugin.stat().st_mtime_ns) == before


def test_everything_that_can_be_computed(plugin: Path) -> None:
    """Digests, numbers, words and placeholders; comments, order and the publisher's words stay."""
    right = plugin.read_text(encoding="utf-8")
    digest = next(line for line in right.splitlines() if line.startswith("weights_digest"))
    edited(
        plugin,
        ("parameters = 2304", "parameters = 5 # counted by hand"),
        ('relation = "ffn"', 'relation = "adapter"'),
        ('dtype = "bfloat16"', 'dtype = "float16"'),
        (digest, 'weights_digest = "TODO"'),
        ('architecture = "LlamaForCausalLM"', 'architecture = "MistralForCausalLM"'),
        ("context_length = 1024", "context_length = 9999"),
        ('kind = "bpe"', 'kind = "wordpiece"'),
        ("vocab_size = 300", "vocab_size = 5"),
        ('summary = "TODO: one line', 'summary = "Tides, one line'),
    )
    changes = {change.field: (change.old, change.new) for change in fix_manifest(plugin)}
    assert changes == {
        "model.parameters": (5, 2304),
        "model.dtype": ("float16", "bfloat16"),
        "model.weights_digest": ("TODO", digest.partition('"')[2].rstrip('"')),
        "model.architecture": ("MistralForCausalLM", "LlamaForCausalLM"),
        "model.context_length": (9999, 1024),
        "tokenizer.kind": ("wordpiece", "bpe"),
        "tokenizer.vocab_size": (5, 300),
    }
    text = plugin.read_text(encoding="utf-8")
    assert "parameters = 2304 # counted by hand" in text
    assert 'summary = "Tides, one line' in text
    wanted = right.replace("parameters = 2304", "parameters = 2304 # counted by hand")
    wanted = wanted.replace('summary = "TODO: one line', 'summary = "Tides, one line')
    # An adapter of feed-forward layers alone is also an adapter of any layers: that is the publisher's word.
    assert text == wanted.replace('relation = "ffn"', 'relation = "adapter"')


def test_an_adapter_that_says_ffn_and_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It fails by name, is mended, and holds."""
    from safetensors.torch import load_file, save_file

    adapter = save_adapter(tmp_path / "adapter", dtype="bfloat16")
    file = adapter / "adapter_model.safetensors"
    renamed = {name.replace("mlp.up_proj", "self_attn.v_proj"): t for name, t in load_file(file).items()}
    kept = {
        n: t[:, :32].contiguous() if "lora_A" in n else t[:16].contiguous() for n, t in renamed.items() if "v_proj" in n
    }
    save_file(kept, file, {"format": "pt"})
    settings = adapter / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"target_modules": ["v_proj"]}))
    made = cogen.new_from("tide", adapter, tmp_path / "plugin", base=save_model(tmp_path / "base", dtype="bfloat16"))
    (manifest,) = made.folder.glob("src/*/expert.toml")
    edited(manifest, ('relation = "adapter"', 'relation = "ffn"'))
    assert main(["check", str(made.folder)]) == 1
    shown = capsys.readouterr()
    assert "✗ weight facts: the weights: the adapter also changes model.layers.0.self_attn.v_proj" in shown.out
    main(["check", str(made.folder), "--fix", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["changes"] == [{"field": "model.relation", "old": "ffn", "new": "adapter"}]
    assert {one["name"]: one["ok"] for one in answer["checks"]}["weight facts"] is True


def test_files_of_the_package(tmp_path: Path) -> None:
    """Suites and samples that were edited: their digests and numbers of documents."""
    folder = tree(tmp_path / "plugin", "power")
    package = folder / "cogen_plugin_power"
    with (package / "suites" / "test.jsonl").open("a") as file:
        file.write('{"text": "one more document of its own"}\n\n')
    (package / "samples.jsonl").write_text('{"text": "another sample"}\n')
    found = {check.name: check.ok for check in check_tree(read_tree(folder))}
    assert found["digests"] is False
    fields = [change.field for change in fix_manifest(package / "expert.toml")]
    assert fields == ["suites[0].test.digest", "suites[0].test.documents", "samples.digest"]
    assert all(check.ok for check in check_tree(read_tree(folder)) if check.name in ("digests", "suite heldout"))


def test_a_base_that_is_another_file(plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which base was meant, only its publisher knows: nothing of it is changed, and a note says why."""
    (tmp_path / "base" / "generation_config.json").write_text("{}")
    before = plugin.read_bytes()
    notes: list[str] = []

    class Notes:
        def describe(self, label: str) -> None: ...

        def advance(self, n: float = 1) -> None: ...

        def note(self, text: str) -> None:
            notes.append(text)

    assert fix_manifest(plugin, Notes()) == ()
    assert plugin.read_bytes() == before
    assert any("is not the file that was published" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('license = "LicenseRef-TODO"', 'license = "none such"'), "SPDX"),
        (("plugin_api = 1", "plugin_api = 1\nodd = 2"), "not a field of the contract"),
        (('id = "tide"', 'id = "'), "is not valid TOML"),
    ],
)
def test_what_nobody_can_compute(plugin: Path, change: tuple[str, str], message: str) -> None:
    """One line, and the file is as it was."""
    text = edited(plugin, change)
    with pytest.raises(SpecError, match=message):
        fix_manifest(plugin)
    assert plugin.read_text(encoding="utf-8") == text


def test_a_missing_file_is_named(plugin: Path) -> None:
    (plugin.parent / "weights" / "adapter_model.safetensors").unlink()
    with pytest.raises(cogen.CogenError, match="holds no safetensors file"):
        fix_manifest(plugin)


@pytest.mark.parametrize("name", [".", "cogen-plugin-none"])
def test_a_folder_that_is_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"holds no expert\.toml|no plugin"):
        cogen.fix(name)


def test_the_format_follows_the_weights(plugin: Path) -> None:
    """A table that calls an adapter a whole model is mended as a whole: format and relation belong together."""
    edited(plugin, ('format = "peft"', 'format = "safetensors"'), ('relation = "ffn"', 'relation = "full"'))
    changes: dict[str, Any] = {change.field: change.new for change in fix_manifest(plugin)}
    assert changes == {"model.format": "peft", "model.relation": "ffn"}


def test_an_id_finds_its_tree(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cogen check NAME` right after `cogen new NAME --from …`, without installing it."""
    plugin.parents[2].rename(plugin.parents[3] / "cogen-plugin-tide")
    monkeypatch.chdir(plugin.parents[3])
    main(["check", "tide", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["ok"] for one in answer["checks"]}["weight facts"] is True


def test_digest_prints_what_the_manifest_has(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = plugin.parent / "weights"
    assert main(["digest", str(weights), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    text = plugin.read_text(encoding="utf-8")
    assert answer["weights_digest"] in text
    assert answer["file_digest"] in text
    assert (answer["parameters"], answer["relation"], answer["tokenizer_digest"]) == (2304, "ffn", None)
    assert main(["digest", str(plugin)]) == 1
    assert "expert.toml is not a model" in capsys.readouterr().err
    whole = cogen.digest(plugin.parents[3] / "base")
    assert (whole.vocab_size, whole.architecture, whole.relation) == (300, "LlamaForCausalLM", None)
    assert whole.tokenizer_digest is not None
    assert whole.tokenizer_digest in text

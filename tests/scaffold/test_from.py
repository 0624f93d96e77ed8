"""`cogen new --from`: a plugin around weights that exist, of which everything that can be computed is right."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.manifests import documents
from support.tiny import llama, save_adapter, save_model, tokenizer

import cogen
from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.model import open_folder
from cogen.conformance import check_tree
from cogen.conformance.tree import read_tree
from cogen.errors import CogenError, CompatibilityError, SourceError, UnsafeError, UsageError
from cogen.scaffold.existing import NewExpert
from cogen.spec.expert import ExpertSpec
from cogen.wheels import sizes

New = Callable[..., NewExpert]
TODO = [
    *(
        "summary",
        "publisher",
        "domains[0]",
        "languages[0]",
        "license",
        "derivatives",
        "data.languages[0]",
        "data.collected",
    ),
    *("data.preprocessing", "data.decontaminated_against", "data.biases", "data.limitations", "data.not_for"),
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tmp_path / "base", dtype="bfloat16")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return save_adapter(tmp_path / "adapter", base_model_name_or_path=str(base))


@pytest.fixture
def new(tmp_path: Path) -> New:
    def make(source: Path | str, **options: Any) -> NewExpert:
        return cogen.new_from("tide", source, tmp_path / "plugin", **options)

    return make


def tuned(base: Path, folder: Path) -> Path:
    """A full fine-tune: every weight moved a little."""
    torch.manual_seed(1)
    tensors = load_file(base / "model.safetensors")
    save_model(folder, dtype="bfloat16")
    moved = {name: tensor + torch.randn_like(tensor) * 0.01 for name, tensor in tensors.items()}
    save_file(moved, folder / "model.safetensors", {"format": "pt"})
    return folder


def manifest(made: NewExpert) -> ExpertSpec:
    (path,) = made.folder.glob("src/*/expert.toml")
    return ExpertSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def outcomes(made: NewExpert) -> dict[str, bool | None]:
    """Every check of level smoke on the tree, as it lies there."""
    return {check.name: check.ok for check in check_tree(read_tree(made.folder), "smoke") if check.name != "unfinished"}


def test_an_adapter(new: New, adapter: Path, base: Path) -> None:
    """Base, relation, digests and tokenizer are found; what is asked for says TODO; every check of it holds."""
    made = new(adapter)
    spec = manifest(made)
    model = spec.model
    assert spec == made.expert
    assert (model.format, model.relation, model.dtype) == ("peft", "ffn", "bfloat16")
    assert (model.architecture, model.context_length, model.parameters) == ("LlamaForCausalLM", 1024, 2304)
    assert model.base is not None
    assert model.base.source == f"file://{base}"
    assert model.base.file_digest == file_digest(base)
    assert model.base.weights_digest == open_folder(base).weights_digest
    assert spec.tokenizer.digest == tokenizer_digest(tokenizer())
    assert (spec.tokenizer.kind, spec.tokenizer.vocab_size) == ("bpe", 300)
    assert (spec.schema_version, spec.suites, spec.private_suites) == (2, (), ())
    assert list(made.todo) == TODO
    assert made.weights == "package"
    assert set(outcomes(made).values()) == {True}


def test_nothing_of_this_machine_is_copied(new: New, adapter: Path) -> None:
    """Not the path of the base, and no file that is not of the adapter."""
    (adapter / "training_args.bin").write_bytes(b"pickle")
    (adapter / "README.md").write_text("patients")
    (adapter / "trainer_state.json").write_text("{}")
    made = new(adapter)
    weights = next(made.folder.glob("src/*/weights"))
    assert sorted(path.name for path in weights.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((weights / "adapter_config.json").read_text())["base_model_name_or_path"] is None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # transformers', at a call of peft's
def test_a_peft_adapter_of_attention(new: New, base: Path, tmp_path: Path) -> None:
    """As peft writes it: relation adapter, and its base is asked for where it names none."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(llama(dtype="bfloat16"), LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    model.save_pretrained(tmp_path / "peft")
    with pytest.raises(UsageError, match="does not say which base") as caught:
        new(tmp_path / "peft")
    assert "--base" in caught.value.hint
    made = new(tmp_path / "peft", base=base)
    assert (made.expert.model.relation, made.expert.model.dtype) == ("adapter", "float32")
    assert set(outcomes(made).values()) == {True}


def test_a_full_fine_tune(new: New, base: Path, tmp_path: Path) -> None:
    made = new(tuned(base, tmp_path / "tuned"), base=base)
    assert (made.expert.model.relation, made.expert.model.format) == ("full", "safetensors")
    assert made.expert.tokenizer.source == "package://cogen_plugin_tide/weights"
    assert set(outcomes(made).values()) == {True}


def test_a_model_of_its_own(new: New, base: Path) -> None:
    """Without a base it is described as trained from scratch, and a note says what that means."""
    made = new(base)
    assert (made.expert.model.relation, made.expert.model.base) == ("scratch", None)
    assert any("cannot be merged with others" in note for note in made.notes)
    assert set(outcomes(made).values()) == {True}


def test_a_readme_fills_in_license_and_languages(new: New, adapter: Path) -> None:
    (adapter / "README.md").write_text("---\nlicense: mit\nlanguage:\n- zh\n- en\n---\n")
    made = new(adapter, title="Tides", publisher="The harbour")
    assert (made.expert.license, made.expert.languages, made.expert.publisher) == ("MIT", ("zh", "en"), "The harbour")
    assert list(made.todo) == [
        name for name in TODO if name.startswith(("summary", "domains", "derivatives", "data.")) and "lang" not in name
    ]


def test_what_is_no_fine_tune_of_the_base(new: New, base: Path, tmp_path: Path) -> None:
    """The weights themselves, another training, other shapes, an adapter of another model."""
    wrong = {
        base: "base has the weights of its base base",
        save_model(tmp_path / "other", 99, "bfloat16"): "other does not descend from base: the cosine",
        save_model(
            tmp_path / "wide", 1, "bfloat16", intermediate_size=48
        ): "wide is no fine-tune of base: model.layers",
    }
    for source, message in wrong.items():
        with pytest.raises(CompatibilityError, match=message):
            new(source, base=base)
    adapter = save_adapter(tmp_path / "a")
    with pytest.raises(
        CompatibilityError, match=r"the adapter a changes model\.layers\.0\.mlp\.down_proj\.weight of shape"
    ):
        new(adapter, base=tmp_path / "wide")


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda a: (a / "adapter_model.safetensors").write_bytes(b"x"), SourceError, "is not a whole safetensors file"),
        (lambda a: (a / "adapter_model.safetensors").rename(a / "adapter_model.bin"), UnsafeError, "a pickle"),
        (
            lambda a: (a / "adapter_config.json").write_text("["),
            SourceError,
            "adapter_config.json is missing or damaged",
        ),
        (lambda a: (a / "adapter_config.json").unlink(), SourceError, "no readable config.json"),
        (lambda a: (a / "adapter_model.safetensors").unlink(), SourceError, "holds no safetensors file"),
    ],
)
def test_damaged_weights(new: New, adapter: Path, spoil: Any, kind: type[CogenError], message: str) -> None:
    """One line, and nothing of the plugin is left."""
    spoil(adapter)
    with pytest.raises(kind, match=message):
        new(adapter)
    assert [path.name for path in adapter.parent.iterdir() if "plugin" in path.name] == []


def test_a_folder_that_is_not_empty(new: New, adapter: Path) -> None:
    new(adapter)
    with pytest.raises(UsageError, match="is there already"):
        new(adapter)


def test_remote_code_is_not_run(new: New, base: Path, tmp_path: Path) -> None:
    """A tokenizer that asks for code is refused."""
    folder = save_model(tmp_path / "evil", dtype="bfloat16")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeError, match="asks for remote code"):
        new(folder)


def texts(path: Path, count: int) -> Path:
    lines = [json.dumps({"text": text}) for text in documents("held", count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_suite_that_ships(new: New, adapter: Path, tmp_path: Path) -> None:
    """Text, license and personal data are said; the splits depend on the texts alone."""
    made = new(
        adapter, suite=texts(tmp_path / "t.jsonl", 50), leaves="heldout", text_license="CC0-1.0", personal_data="none"
    )
    (suite,) = made.expert.suites
    assert (suite.dev.documents, suite.test.documents) == (10, 40)
    assert outcomes(made) == dict.fromkeys(outcomes(made), True)
    source = made.expert.data.sources[0]
    assert (source.leaves, source.heldout, source.personal_data) == ("heldout", True, "none")


def test_a_suite_that_stays(new: New, adapter: Path, tmp_path: Path) -> None:
    """In private/, outside of the package: no file of the package holds a word of it."""
    made = new(adapter, suite=texts(tmp_path / "t.jsonl", 50))
    assert sorted(path.name for path in (made.folder / "private").iterdir()) == [
        *("dev.jsonl", "private.yaml", "salt", "test.jsonl")
    ]
    assert made.expert.suites == ()
    package = next(made.folder.glob("src/*"))
    assert not any(b"heldword" in path.read_bytes() or b"held0" in path.read_bytes() for path in package.rglob("*.*"))
    assert "/private/" in (made.folder / ".gitignore").read_text()


@pytest.mark.parametrize(
    ("options", "count", "message"),
    [
        ({}, 39, "39 different texts, 40 are needed"),
        ({"leaves": "heldout"}, 50, "needs a license"),
        ({"leaves": "heldout", "text_license": "MIT"}, 50, "personal data unknown never ships"),
        ({"leaves": "heldout", "text_license": "MIT", "personal_data": "present"}, 50, "personal data present never"),
    ],
)
def test_a_suite_that_cannot_be(
    new: New, adapter: Path, tmp_path: Path, options: Any, count: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        new(adapter, suite=texts(tmp_path / "t.jsonl", count), **options)
    assert not (tmp_path / "plugin").exists()


def test_a_line_that_is_no_text(new: New, adapter: Path, tmp_path: Path) -> None:
    """Named by its number; its words are not shown."""
    path = texts(tmp_path / "t.jsonl", 50)
    path.write_text(path.read_text() + '{"secret": "patient"}\n')
    with pytest.raises(UsageError, match=r"line 51") as caught:
        new(adapter, suite=path)
    assert "patient" not in caught.value.message


def test_large_weights_stay_where_they_are(new: New, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is in the package; publishing uploads them."""
    monkeypatch.setattr("cogen.scaffold.existing.WEIGHTS_IN_WHEEL", 1000)
    made = new(adapter)
    assert made.weights == "apart"
    assert made.expert.model.source == f"file://{adapter}"
    assert not list(made.folder.rglob("*.safetensors"))
    assert sizes.WEIGHTS_IN_WHEEL == 64 << 20

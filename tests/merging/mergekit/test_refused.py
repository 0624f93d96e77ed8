"""What cannot be done is refused by name, from headers and configurations, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kitchen import Kitchen, tensors_of

from cogen.errors import CogenError, CompatibilityError, SourceError, UnsafeError, UsageError
from cogen.reporter import Silent

AB = "models: [{model: a}, {model: b}]\n"
ON_BASE = "base_model: base\nmodels: [{model: a}, {model: b}]\n"
WEIGHT = "parameters: {weight: 1}\n"


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merge_method: mine\n" + AB, "unknown merge_method 'mine'"),
        ("merge_method: ties\nparameters: {weight: 1}\n" + AB, "ties needs base_model"),
        ("merge_method: slerp\nparameters: {t: 0.5}\n" + AB, "slerp needs base_model"),
        ("merge_method: slerp\nparameters: {t: 0.5}\n" + ON_BASE, "models: slerp merges exactly 1 model beside"),
        ("merge_method: slerp\nbase_model: a\n" + AB, "slerp needs a t for "),
        ("merge_method: linear\n" + AB, "linear needs a weight for "),
        (
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: {filter: mlp, value: 1}}}]\n",
            r"linear needs a weight for model\.embed_tokens\.weight",
        ),
        ("merge_method: passthrough\n" + AB, "passthrough merges exactly 1 model, not 2"),
        ("merge_method: model_stock\nbase_model: a\n" + AB, "at least 2 models beside base_model, not 1"),
        ("merge_method: nuslerp\nbase_model: a\nparameters: {weight: 1}\n" + AB, "exactly 2 models beside"),
        ("merge_method: karcher\nmodels: [{model: a}, {model: ./a}]\n", "models lists a twice"),
        ("merge_method: ties\nparameters: {weight: 1, desnity: 0.5}\n" + ON_BASE, "ties has no parameter 'desnity'"),
        ("merge_method: linear\nparameters: {weight: 1, t: 1}\n" + AB, "linear has no parameter 't'"),
        ("merge_method: linear\nparameters: {weight: 1, dtype: float16}\n" + AB, "linear has no parameter 'dtype'"),
        (
            "merge_method: ties\nbase_model: base\nmodels: [{model: a, parameters: {weight: 1, lambda: 5}}]\n",
            r"models\[0\]\.parameters: lambda cannot differ by model",
        ),
        (
            "merge_method: task_arithmetic\nparameters: {weight: 1, density: 0.5}\n" + ON_BASE,
            r"density 0\.5 is not supported with task_arithmetic: task_arithmetic drops nothing",
        ),
        ("merge_method: multislerp\nparameters: {weight: 1, eps: 0.1}\n" + AB, r"eps 0\.1 is not supported"),
        ("merge_method: nuslerp\nparameters: {weight: 1, nuslerp_row_wise: true}\n" + AB, "row_wise has no effect"),
        (
            "merge_method: ties\nparameters: {weight: 1, density: 2}\n" + ON_BASE,
            r"density must be above 0 and at most 1 \(got 2\)",
        ),
        ("merge_method: ties\nparameters: {weight: much}\n" + ON_BASE, "parameters: weight is 'much', not a number"),
        ("merge_method: della\nparameters: {weight: 1, density: 0.9}\n" + ON_BASE, "epsilon"),
        (
            "merge_method: nearswap\nbase_model: a\nparameters: {t: -1}\n" + AB,
            r"nearswap: t must not be negative \(got -1\)",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}, {model: b, parameters: {weight: -1}}]\n" + WEIGHT,
            r"model\.\S+: linear: the weights sum to zero",
        ),
        ("merge_method: linear\ndtype: int64\nparameters: {weight: 1}\n" + AB, "unknown dtype 'int64'"),
        ("merge_method: linear\nout_dtype: fp16\nparameters: {weight: 1}\n" + AB, "unknown out_dtype 'fp16'"),
    ],
)
def test_wishes(kitchen: Kitchen, text: str, message: str) -> None:
    """Of methods and their parameters."""
    for seed, name in enumerate(("base", "a", "b")):
        kitchen.model(name, seed)
    before = sorted(path.name for path in kitchen.folder.iterdir())
    with pytest.raises(CogenError, match=message) as caught:
        kitchen.merge(text)
    assert caught.value.hint
    assert sorted(path.name for path in kitchen.folder.iterdir()) == sorted([*before, "config.yml"])


SLICE = "{{sources: [{{model: {0}, layer_range: {1}}}, {{model: {2}, layer_range: {3}}}]}}"


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (SLICE.format("a", [0, 2], "base", [0, 1]), "different numbers of layers"),
        (SLICE.format("a", [0, 3], "base", [0, 3]), "layer_range ends at 3, a has 2 layers"),
        (SLICE.format("a", [0, 2], "b", [0, 2]), r"slices\[0\] lacks layers of base_model base"),
        (SLICE.format("a", [0, 1], "a", [1, 2]), "lists a twice"),
        (SLICE.format("base", [0, 2], "towers", [0, 2]), "towers has model.layers and vision.layers"),
        (SLICE.format("base", [0, 2], "other", [0, 2]), "named model.layers, those of other transformer.h"),
        (SLICE.format("base", [0, 2], "wrong", [0, 2]), "the configuration of wrong does not count 2 layers"),
    ],
)
def test_slices(kitchen: Kitchen, slices: str, message: str) -> None:
    """Of layers that aren't there, and of models that cannot be sliced."""
    for seed, name in enumerate(("base", "a", "b")):
        kitchen.model(name, seed)
    kitchen.model("towers", tensors=tensors_of(5) | {"vision.layers.0.weight": torch.ones(2)})
    named = {name.replace("model.layers", "transformer.h"): value for name, value in tensors_of(6).items()}
    kitchen.model("other", tensors=named)
    kitchen.model("wrong", 7, num_hidden_layers=5)
    base = "wrong" if "wrong" in slices else "a" if "twice" in message else "base"
    with pytest.raises(CogenError, match=message):
        kitchen.merge(f"merge_method: slerp\nbase_model: {base}\nparameters: {{t: 1}}\nslices: [{slices}]\n")


MERGE = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"


@pytest.mark.usefixtures("unread")
class TestModels:
    """Models that do not fit together, or that cannot be read safely."""

    def refused(self, kitchen: Kitchen, kind: type[CogenError], message: str, text: str = MERGE) -> None:
        with pytest.raises(kind, match=message):
            kitchen.merge(text)
        assert not (kitchen.folder / "out").exists()

    def test_missing_tensor(self, kitchen: Kitchen) -> None:
        """Named with the model that lacks it, whichever comes first."""
        fewer = tensors_of(1)
        del fewer["model.layers.1.mlp.up_proj.weight"]
        kitchen.model("a", tensors=fewer)
        kitchen.model("b", 2)
        self.refused(
            kitchen, CompatibilityError, r"a has no tensor model\.layers\.1\.mlp\.up_proj\.weight, which b has"
        )
        swapped = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: b}, {model: a}]\n"
        self.refused(kitchen, CompatibilityError, r"a has no tensor model\.layers\.1\.mlp\.up_proj\.weight", swapped)

    def test_missing_head_of_an_untied_model(self, kitchen: Kitchen) -> None:
        """A model that says it has a head of its own must have one."""
        kitchen.model("a", 1, tied=False)
        kitchen.model("b", 2, tie_word_embeddings=False)
        self.refused(kitchen, CompatibilityError, r"b has no tensor lm_head\.weight, which a has")

    def test_shapes(self, kitchen: Kitchen) -> None:
        """Of another width; the hint of a tokenizer is for vocabularies."""
        kitchen.model("a", 1)
        kitchen.model("b", tensors=tensors_of(2) | {"model.norm.weight": torch.ones(9)})
        self.refused(kitchen, CompatibilityError, r"model\.norm\.weight is 8 in a and 9 in b")

    def test_vocabularies(self, kitchen: Kitchen) -> None:
        """mergekit 0.1.4 cut them in silence."""
        kitchen.model("a", 1)
        kitchen.model("b", 2, rows=13)
        with pytest.raises(CompatibilityError, match=r"embed_tokens\.weight is 12 × 8 in a and 13 × 8 in b") as caught:
            kitchen.merge(MERGE)
        assert "tokenizer: {source: union}" in str(caught.value.hint)

    def test_architectures(self, kitchen: Kitchen) -> None:
        """The same names and shapes in another architecture are other functions."""
        kitchen.model("a", 1)
        kitchen.model("b", 2, model_type="mistral")
        self.refused(kitchen, CompatibilityError, "a is a llama model and b a mistral model")

    def test_a_donor_of_another_size(self, kitchen: Kitchen) -> None:
        """A base that only lends its configuration has to have the same tensors."""
        for seed, name in enumerate("ab"):
            kitchen.model(name, seed)
        kitchen.model("base", 3, layers=1)
        message = r"the configuration of base does not fit .*: its model\.layers\.1\.input_layernorm\.weight is missing"
        self.refused(kitchen, CompatibilityError, message, MERGE + "base_model: base\n")
        kitchen.model("wide", tensors=tensors_of(3) | {"model.norm.weight": torch.ones(9)})
        message = r"its model\.norm\.weight is of another shape"
        self.refused(kitchen, CompatibilityError, message, MERGE + "base_model: wide\n")

    def test_kinds(self, kitchen: Kitchen) -> None:
        """Integers and numbers under one name."""
        kitchen.model("a", tensors=tensors_of(1) | {"steps": torch.arange(3)})
        kitchen.model("b", tensors=tensors_of(2) | {"steps": torch.ones(3)})
        self.refused(kitchen, CompatibilityError, "steps is float32 and int64 in different models")

    def test_another_function(self, kitchen: Kitchen) -> None:
        """The result has one configuration: weights that mean something else there are refused, also where they are
        only copied; an unknown field counts."""
        kitchen.model("a", 1, rope_theta=5.0)
        kitchen.model("b", 2, rope_theta=1.0)
        self.refused(kitchen, CompatibilityError, r"b and a compute differently .*rope_theta is 1\.0 and 5\.0")
        kitchen.model("c", 3, rope_theta=5.0, new_multiplier=2.0)
        text = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: c}]\n"
        self.refused(kitchen, CompatibilityError, r"new_multiplier is 2\.0 and not set", text)
        text = "merge_method: passthrough\nbase_model: a\nmodels: [{model: b}]\n"
        self.refused(kitchen, CompatibilityError, r"rope_theta is 1\.0 and 5\.0", text)

    def test_quantized(self, kitchen: Kitchen) -> None:
        """Codes cannot be averaged; see tests/checkpoints/test_quantized.py for all kinds."""
        codes = {"model.norm.qweight": torch.zeros(2, 2, dtype=torch.int32)}
        kitchen.model("a", tensors=tensors_of(1) | codes, quantization_config={"quant_method": "gptq"})
        kitchen.model("b", 2)
        self.refused(kitchen, CompatibilityError, r"a is quantized \(GPTQ\)")

    def test_pickles(self, kitchen: Kitchen) -> None:
        """Never read."""
        kitchen.model("a", 1)
        kitchen.model("b", 2)
        (kitchen.folder / "b" / "model.safetensors").rename(kitchen.folder / "b" / "pytorch_model.bin")
        self.refused(kitchen, UnsafeError, r"b holds pytorch_model\.bin, a pickle")

    def test_adapter_without_its_model(self, kitchen: Kitchen) -> None:
        """It is named behind the model with a +."""
        kitchen.model("a", 1)
        kitchen.model("b", 2)
        (kitchen.folder / "b" / "adapter_config.json").write_text("{}")
        with pytest.raises(CompatibilityError, match="b is an adapter, not a model") as caught:
            kitchen.merge(MERGE)
        assert caught.value.hint == "write model+b"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nowhere", "nowhere does not exist"),
            ("./no/where", "does not exist"),
            ("a@main", "a is a folder and has no revision"),
        ],
    )
    def test_places(self, kitchen: Kitchen, name: str, message: str) -> None:
        """Of folders that are not there, and folders with a revision."""
        kitchen.model("a", 1)
        text = f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {name}}}]\n"
        self.refused(kitchen, SourceError, message, text)

    def test_chat_templates(self, kitchen: Kitchen) -> None:
        """Names that nobody has, Jinja that is none, and a template for nobody to use."""
        kitchen.model("a", 1)
        kitchen.model("b", 2)
        self.refused(kitchen, UsageError, "which a lacks", MERGE + "chat_template: chatml\n")
        for name in "ab":
            backend = {"model": {"type": "BPE", "vocab": {"x": 0}, "merges": []}}
            (kitchen.folder / name / "tokenizer.json").write_text(json.dumps(backend))
        self.refused(kitchen, UsageError, "unknown chat_template 'chatlm'", MERGE + "chat_template: chatlm\n")
        self.refused(kitchen, UsageError, "invalid Jinja in the chat template", MERGE + "chat_template: '{% for %}'\n")

    def test_other_tokens_behind_the_same_ids(self, kitchen: Kitchen) -> None:
        """Most ids mean something else: noise. A few: a note."""
        kitchen.model("a", 1)
        kitchen.model("b", 2)
        write_tokens(kitchen.folder / "a", list("abcdefghijkl"))
        write_tokens(kitchen.folder / "b", list("abcdefghijkX"))
        (note,) = kitchen.plan(MERGE).notes
        assert note.startswith("1 ids stand for different tokens in b and a")
        write_tokens(kitchen.folder / "b", list("lkjihgfedcba"))
        with pytest.raises(CompatibilityError, match="12 of 12 ids stand for different tokens") as caught:
            kitchen.merge(MERGE)
        assert "tokenizer: {source: base}" in str(caught.value.hint)


def write_tokens(folder: Path, tokens: list[str]) -> None:
    model: dict[str, Any] = {"type": "BPE", "vocab": {token: id for id, token in enumerate(tokens)}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": []}))


def test_the_output_is_not_an_input(kitchen: Kitchen) -> None:
    """A merge of ours may be merged again, but not onto itself; what isn't ours is never replaced."""
    kitchen.model("a", 1)
    kitchen.model("b", 2)
    with pytest.raises(UsageError, match="a exists and was not written by CoGen"):
        kitchen.merge(MERGE, "a")
    kitchen.merge(MERGE)
    before = kitchen.tensors()
    again = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: out}, {model: b}]\n"
    with pytest.raises(UsageError, match="out is one of the merged models"):
        kitchen.merge(again)
    with pytest.raises(UsageError, match="out/new is inside of one of the merged models"):
        kitchen.merge(again, "out/new")
    assert not (kitchen.folder / "out" / "new").exists()
    assert all(torch.equal(before[name], tensor) for name, tensor in kitchen.tensors().items())
    kitchen.merge(again, "second")
    kitchen.merge(MERGE, "second")
    assert all(torch.equal(before[name], tensor) for name, tensor in kitchen.tensors("second").items())


def test_a_fault_while_writing_leaves_nothing(kitchen: Kitchen) -> None:
    """An error in the middle: one line, no new folder, and the old one stays."""
    kitchen.model("a", 1)
    kitchen.model("b", 2)
    kitchen.merge(MERGE)
    before = kitchen.tensors()
    plan = kitchen.plan(MERGE)
    assert len(plan.steps) == len(before)

    class Broken(Silent):
        total = None

        def advance(self, n: float = 1) -> None:
            raise OSError(5, "Input/output error")

    with pytest.raises(CogenError):
        kitchen.merge(MERGE, reporter=Broken())
    assert all(torch.equal(before[name], tensor) for name, tensor in kitchen.tensors().items())
    assert [path.name for path in kitchen.folder.iterdir() if path.name.startswith(".")] == []

"""The tensors of the result: values, types, copies, heads that some models don't store, adapters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.kitchen import Kitchen, Tensors, tensors_of
from support.tiny import logits, save_adapter, save_model

from cogen.checkpoints.safetensors_file import read_bytes, read_folder
from cogen.errors import CompatibilityError

EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
HALVES = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"


def mean(a: Tensors, b: Tensors, name: str) -> torch.Tensor:
    """In float64, rounded once."""
    return ((a[name].double() + b[name].double()) / 2).to(a[name].dtype)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_pure_moves_are_copies(kitchen: Kitchen) -> None:
    """One model, passed through, averaged with nothing or without a density: its bytes, -0.0 and 1e-42 and all."""
    odd = tensors_of(1) | {NORM: torch.tensor([-0.0, 0.0, 3e38, 1e-42, -1e-42, 1, 2, 3])}
    odd |= {"flag": torch.tensor(True), "none": torch.zeros(0, 3), "number": torch.tensor(2.5)}
    kitchen.model("a", tensors=odd)
    kitchen.model("base", tensors=odd | tensors_of(5))
    recipes = (
        "merge_method: passthrough\nmodels: [{model: a}]\n",
        "merge_method: passthrough\nmodels: [{model: a, parameters: {scale: 1}}]\ndtype: float32\n",
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.3}}]\n",
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1, }}]\nparameters: {normalize: false}\n",
        "merge_method: karcher\nmodels: [{model: a}]\n",
        "merge_method: ties\nbase_model: a\nmodels: [{model: a}]\n",
        "merge_method: linear\nbase_model: base\nmodels: [{model: a, parameters: {weight: 1}}]\n",
    )
    for number, text in enumerate(recipes):
        done = kitchen.merge(text, f"out{number}")
        assert done.copied == done.tensors
        before, after = read_folder(kitchen.folder / "a"), read_folder(kitchen.folder / f"out{number}")
        assert after.keys() == before.keys()
        assert all(read_bytes(after[name]) == read_bytes(before[name]) for name in before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "text",
    [
        "merge_method: passthrough\nmodels: [{model: a}]\n",
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: base, parameters: {weight: 1}}]\n",
        "merge_method: ties\nbase_model: base\nmodels: [{model: a, parameters: {weight: 1, density: 1}}]\n",
        "merge_method: passthrough\nmodels: [{model: a}]\ndtype: bfloat16\n",
    ],
)
def test_what_is_no_number_is_not_written(kitchen: Kitchen, value: float, text: str) -> None:
    """Copied or computed: named by tensor and model; no folder appears."""
    kitchen.model("a", 1)
    tensors = load_file(kitchen.folder / "a" / "model.safetensors")
    tensors[NORM][1] = value
    save_file(tensors, kitchen.folder / "a" / "model.safetensors")
    kitchen.model("base", 2)
    with pytest.raises(CompatibilityError, match="NaN or infinity") as caught:
        kitchen.merge(text)
    assert NORM in caught.value.message
    assert re.search(r"\ba\b", caught.value.message.replace("a number", ""))
    assert caught.value.hint
    assert not Path("out").exists()


def test_a_move_that_changes_something_is_none(kitchen: Kitchen) -> None:
    """Another scale, another weight, another type."""
    a = kitchen.model("a", 1)
    found = kitchen.merged("merge_method: passthrough\nmodels: [{model: a, parameters: {scale: 2}}]\n")
    assert all(torch.equal(found[name], 2 * a[name]) for name in a)
    text = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.5}}]\nparameters: {normalize: false}\n"
    found = kitchen.merged(text)
    assert all(torch.equal(found[name], 0.5 * a[name]) for name in a)
    found = kitchen.merged("merge_method: passthrough\nmodels: [{model: a}]\ndtype: bfloat16\n")
    assert all(torch.equal(found[name], a[name].bfloat16()) for name in a)


@pytest.mark.parametrize(
    ("stored", "choice", "expected"),
    [
        (("bfloat16", "bfloat16"), "", "bfloat16"),
        (("bfloat16", "float32"), "", "float32"),
        (("bfloat16", "float16"), "", "float32"),
        (("float32", "float32"), "dtype: bfloat16", "bfloat16"),
        (("float32", "float32"), "dtype: torch.float16", "float16"),
        (("bfloat16", "bfloat16"), "dtype: float32\nout_dtype: bfloat16", "bfloat16"),
        (("bfloat16", "bfloat16"), "dtype: float32", "float32"),
        (("bfloat16", "bfloat16"), "out_dtype: float64", "float64"),
    ],
)
def test_types(kitchen: Kitchen, stored: tuple[str, str], choice: str, expected: str) -> None:
    """Inputs are cast to dtype where it is narrower; the result is of out_dtype, else dtype, else what all fit into."""
    a, b = (kitchen.model(name, seed, dtype=dtype) for seed, (name, dtype) in enumerate(zip("ab", stored, strict=True)))
    found = kitchen.merged(HALVES + choice + "\n")
    dtype = getattr(torch, expected)
    narrow = (
        dtype if choice.startswith("dtype: ") and expected != "float32" and stored[0] == "float32" else torch.float64
    )
    for name in a:
        first, second = (tensor.to(narrow).double() for tensor in (a[name], b[name]))
        assert torch.equal(found[name], ((first + second) / 2).to(dtype))
    assert kitchen.json("config.json")["dtype"] == expected


def test_tensors_that_are_no_numbers(kitchen: Kitchen) -> None:
    """Counters and masks: the base's, or the first model's."""
    for number, name in enumerate(("base", "a", "b")):
        kitchen.model(name, tensors=tensors_of(number) | {"steps": torch.full((3,), number)})
    assert kitchen.merged(HALVES)["steps"].tolist() == [1, 1, 1]
    text = "merge_method: ties\nbase_model: base\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
    assert kitchen.merged(text)["steps"].tolist() == [0, 0, 0]


def test_buffers_that_only_some_models_store(kitchen: Kitchen) -> None:
    """Older versions of transformers saved what every model computes: left out, and said."""
    old = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.0.attention.masked_bias": torch.tensor(-1e9),
        "model.layers.0.attention.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
    }
    kitchen.model("a", tensors=tensors_of(1) | old)
    b = kitchen.model("b", 2)
    done = kitchen.merge(HALVES)
    assert kitchen.tensors().keys() == b.keys()
    assert "buffers that only some models store were left out" in done.notes[0]
    kitchen.model("c", tensors=tensors_of(3) | old)
    assert kitchen.merged(HALVES.replace("b}", "c}")).keys() == b.keys() | old.keys()


class TestTied:
    """Output heads that are the embedding, beside others."""

    def test_tied_beside_untied(self, kitchen: Kitchen) -> None:
        """The tied model's head is its embedding; the result has a head of its own, and says so."""
        a, b = kitchen.model("a", 1, tied=True), kitchen.model("b", 2, tied=False)
        for order in ("ab", "ba"):
            models = ", ".join(f"{{model: {name}}}" for name in order)
            found = kitchen.merged(f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{models}]\n")
            assert torch.equal(found[HEAD], ((a[EMBED].double() + b[HEAD].double()) / 2).float())
            assert torch.equal(found[EMBED], mean(a, b, EMBED))
            assert kitchen.json("config.json")["tie_word_embeddings"] is False

    def test_a_tied_base(self, kitchen: Kitchen) -> None:
        """Differences of heads are taken from the base's embedding."""
        base, a = kitchen.model("base", 1, tied=True), kitchen.model("a", 2, tied=False)
        found = kitchen.merged(
            "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: a, parameters: {weight: 0.5}}]\n"
        )
        assert torch.equal(found[HEAD], (0.5 * base[EMBED].double() + 0.5 * a[HEAD].double()).float())
        assert kitchen.json("config.json")["tie_word_embeddings"] is False

    def test_all_tied(self, kitchen: Kitchen) -> None:
        """No head, also where a model stores one all the same."""
        a = kitchen.model("a", 1)
        kitchen.model("b", tensors=tensors_of(2) | {HEAD: tensors_of(2)[EMBED]})
        done = kitchen.merge(HALVES)
        assert kitchen.tensors().keys() == a.keys()
        assert kitchen.json("config.json")["tie_word_embeddings"] is True
        assert any("lm_head.weight was left out" in note for note in done.notes)

    def test_slices_of_both(self, kitchen: Kitchen) -> None:
        """The head is that of the last slice's models: of a tied one its embedding."""
        a, b = kitchen.model("a", 1, tied=False), kitchen.model("b", 2, tied=True)
        found = kitchen.merged(
            "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
            "- sources: [{model: b, layer_range: [1, 2]}]\n"
        )
        assert torch.equal(found[EMBED], a[EMBED])
        assert torch.equal(found[HEAD], b[EMBED])
        assert kitchen.json("config.json")["tie_word_embeddings"] is False

    def test_transformers_sees_the_same(self, kitchen: Kitchen) -> None:
        """The loaded model computes with the head that was merged."""
        from transformers import AutoModelForCausalLM

        one = save_model(kitchen.folder / "a", 1, tie_word_embeddings=True)
        save_model(kitchen.folder / "b", 2, tie_word_embeddings=False)
        ranges = {"a": "[0, 2]", "b": "[1, 2]", "./a": "[1, 2]"}
        slices = [f"- sources: [{{model: {name}, layer_range: {range}}}]\n" for name, range in ranges.items()]
        kitchen.merge("merge_method: passthrough\nbase_model: a\nslices:\n" + "".join(slices))
        model = AutoModelForCausalLM.from_pretrained(kitchen.folder / "out").eval()
        assert model.config.tie_word_embeddings is False
        head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert head.data_ptr() != embedding.data_ptr()
        assert torch.equal(head, AutoModelForCausalLM.from_pretrained(one).get_input_embeddings().weight)
        assert torch.isfinite(logits(model)).all()


class TestBase:
    """What base_model is to each kind of method."""

    def test_listed_or_not(self, kitchen: Kitchen) -> None:
        """The base among the models adds nothing; what it has of its own is noted, not used."""
        for seed, name in enumerate(("base", "a", "b")):
            kitchen.model(name, seed)
        text = "merge_method: ties\nbase_model: base\nparameters: {{weight: 0.5, density: 0.5}}\nmodels: [{}]\n"
        plain = kitchen.merged(text.format("{model: a}, {model: b}"))
        listed = text.format("{model: a}, {model: ./base, parameters: {weight: 9}}, {model: b}")
        done = kitchen.merge(listed, "second")
        assert done.notes == ("./base is the base: its own weight has no effect",)
        assert all(torch.equal(plain[name], tensor) for name, tensor in kitchen.tensors("second").items())

    def test_slerp_counts_from_the_base(self, kitchen: Kitchen) -> None:
        """t = 0 is the base, wherever it stands."""
        a, b = kitchen.model("a", 1), kitchen.model("b", 2)
        for models in ("{model: a}, {model: b}", "{model: b}, {model: a}", "{model: b}"):
            text = f"merge_method: slerp\nbase_model: a\nparameters: {{t: [0, 1]}}\nmodels: [{models}]\n"
            found = kitchen.merged(text)
            first, last = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
            assert torch.equal(found[first], a[first])
            assert torch.equal(found[last], b[last])

    def test_methods_without_a_base_leave_it_out(self, kitchen: Kitchen) -> None:
        """base_model gives the configuration, as documented; mergekit's code averages it in."""
        a, b = kitchen.model("a", 1), kitchen.model("b", 2)
        kitchen.model("base", 3, max_position_embeddings=77)
        for method in ("linear", "karcher"):
            plain = HALVES if method == "linear" else "merge_method: karcher\nmodels: [{model: a}, {model: b}]\n"
            kitchen.merge(plain, "plain")
            found = kitchen.merged(plain + "base_model: base\n")
            assert all(torch.equal(found[name], tensor) for name, tensor in kitchen.tensors("plain").items())
            assert kitchen.json("config.json")["max_position_embeddings"] == 77
        assert torch.equal(kitchen.merged(HALVES)[NORM], mean(a, b, NORM))

    def test_configuration_of_the_first_model(self, kitchen: Kitchen) -> None:
        """Without base_model; mergekit's choice depends on the seed of Python's hashes."""
        kitchen.model("a", 1, max_position_embeddings=1)
        kitchen.model("b", 2, max_position_embeddings=2)
        kitchen.merge("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: b}, {model: a}]\n")
        assert kitchen.json("config.json")["max_position_embeddings"] == 2


class TestAdapters:
    """``model+adapter``."""

    @pytest.fixture
    def models(self, kitchen: Kitchen) -> Kitchen:
        save_model(kitchen.folder / "base", 1, "bfloat16")
        for seed, name in enumerate(("one", "two")):
            save_adapter(kitchen.folder / name, seed)
        return kitchen

    def test_passed_through(self, models: Kitchen) -> None:
        """Base plus difference, rounded once, where the adapter has one; a copy elsewhere."""
        from cogen.checkpoints.adapter import read_adapter

        adapter = read_adapter(models.folder / "one")
        done = models.merge("merge_method: passthrough\nmodels: [{model: base+one}]\n")
        found, base = models.tensors(), models.tensors("base")
        assert done.tensors - done.copied == len(adapter.pairs) == 6
        for name, tensor in base.items():
            expected = tensor
            if name in adapter.pairs:
                expected = (tensor.float() + adapter.delta(name, torch.float32)).bfloat16()
            assert torch.equal(bits(found[name]), bits(expected))

    def test_merged_with_the_base(self, models: Kitchen) -> None:
        """Two adapters at half their weight."""
        from cogen.checkpoints.adapter import read_adapter

        found = models.merged(
            "merge_method: task_arithmetic\nbase_model: base\nparameters: {weight: 0.5}\n"
            "models: [{model: base+one}, {model: base+two}]\n"
        )
        base = models.tensors("base")
        adapters = [read_adapter(models.folder / name) for name in ("one", "two")]
        for name, tensor in base.items():
            wide = tensor.double()
            for adapter in adapters:
                if name in adapter.pairs:
                    wide = wide + 0.5 * adapter.delta(name, torch.float64)
            assert torch.allclose(found[name].double(), wide, rtol=2**-8, atol=1e-6)
        assert {m["reference"] for m in models.json("merge.json")["models"]} == {"base", "base+one", "base+two"}

    def test_misfit(self, models: Kitchen) -> None:
        """An adapter for other shapes is refused with its tensor."""
        kitchen = models
        save_model(kitchen.folder / "wide", 1, "bfloat16", intermediate_size=96)
        with pytest.raises(Exception, match=r"the adapter one does not fit wide: .*mlp"):
            kitchen.plan("merge_method: passthrough\nmodels: [{model: wide+one}]\n")


def drop(kitchen: Kitchen, output: str, first: str = "a", second: str = "b", seed: int = 0) -> Tensors:
    text = (
        "merge_method: dare_ties\nbase_model: base\nparameters: {weight: 0.5, density: 0.5}\n"
        f"models: [{{model: {first}}}, {{model: {second}}}]\n"
    )
    return kitchen.merged(text, output, seed=seed)


def test_random_methods_depend_on_seed_and_content_alone(kitchen: Kitchen) -> None:
    """Not on the order of the models, their names, threads or shards."""
    for seed, name in enumerate(("base", "a", "b")):
        kitchen.model(name, seed)
    expected = drop(kitchen, "one")
    assert any(not torch.equal(expected[name], tensor) for name, tensor in drop(kitchen, "two", seed=1).items())
    (kitchen.folder / "a").rename(kitchen.folder / "renamed")
    found = [drop(kitchen, "three", "renamed"), drop(kitchen, "four", "b", "renamed")]
    kitchen.merge((kitchen.folder / "config.yml").read_text(), "five", threads=4, shard_size=500)
    assert len(list((kitchen.folder / "five").glob("model-*.safetensors"))) > 2
    for other in [*found, kitchen.tensors("five")]:
        assert all(torch.equal(bits(expected[name]), bits(tensor)) for name, tensor in other.items())


def test_what_beside_the_weights_is_written(kitchen: Kitchen) -> None:
    """Configuration and companions of the base, the record, the card; nothing else."""
    kitchen.model("a", 1)
    kitchen.model("b", 2)
    kitchen.model("base", 3)
    files = {"generation_config.json": "{}", "preprocessor_config.json": "{}", "tokenizer.model": "x", "other.txt": "x"}
    for name, text in files.items():
        (kitchen.folder / "base" / name).write_text(text)
    text = "merge_method: ties\nbase_model: base\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
    kitchen.merge(text, seed=4)
    written = sorted(path.name for path in Path("out").iterdir())
    assert written == [
        "README.md",
        "config.json",
        "generation_config.json",
        "merge.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "tokenizer.model",
    ]
    record = kitchen.json("merge.json")
    assert (record["recipe"], record["seed"], record["method"], record["config_from"]) == (text, 4, "ties", 2)
    assert [model["reference"] for model in record["models"]] == ["a", "b", "base"]
    assert len({model["fingerprint"] for model in record["models"]}) == 3
    (group,) = record["tensors"]
    assert sorted(group.pop("names")) == sorted(tensors_of(1))
    assert group == {
        "method": "ties",
        "dtype": "float32",
        "base": 2,
        "models": [0, 1],
        "weights": [1.0, 1.0],
        "parameters": {"scale": 1.0, "normalize": True, "density": [1.0, 1.0], "rescale": "none"},
    }
    assert record["notes"] == ["left behind of base: other.txt"]
    first = Path("out/merge.json").read_bytes()
    kitchen.merge(text, "again", seed=4)
    assert Path("again/merge.json").read_bytes() == first


def test_the_card(kitchen: Kitchen) -> None:
    """Front matter that the Hub reads, the recipe in a block that it cannot leave, names that are no markup."""
    import yaml

    kitchen.model("a", 1)
    odd = "odd |`<b>name"
    kitchen.model(odd, 2)
    models = f"models: [{{model: a}}, {{model: {json.dumps(odd)}}}]\n"
    text = f"# ```\n# ````\nmerge_method: linear\nparameters: {{weight: 1}}\n{models}"
    kitchen.merge(text)
    card = Path("out/README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "transformers", "tags": ["cogen", "merge", "linear"]}
    assert f"`````yaml\n{text}`````" in body
    assert "| 1 | `odd <b>name` | folder |" in body
    assert "cogen eval DIR" in body

"""The library's public face: recipes from Python, methods on tensors in memory, and nothing imported too early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.kitchen import Kitchen
from support.sites import run_python
from support.tensors import bits, related

import cogen.merging
from cogen.checkpoints.model import open_folder
from cogen.errors import CogenError, CompatibilityError, SpecError, UsageError
from cogen.host.builtin import METHODS as REGISTERED
from cogen.merging import METHODS, Method, load_method, merge, merge_state_dicts, merge_tensors
from cogen.merging.method import whole_tensor
from cogen.reporter import Silent

RECIPE = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "a", "parameters": {"weight": 1}}, {"model": "b", "parameters": {"weight": [0.3, 0.7]}}],
    "parameters": {"density": 0.5},
}
TEXT = """
merge_method: ties
base_model: base
models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: [0.3, 0.7]}}]
parameters: {density: 0.5}
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.chdir(tmp_path)
    found = Kitchen(tmp_path)
    for seed, name in enumerate(("base", "a", "b")):
        found.model(name, seed)
    return found


def test_importing_it_loads_nothing_heavy(tmp_path: Path) -> None:
    """Nor does the table of methods."""
    code = """
import sys
import cogen.merging
from cogen.merging import METHODS
assert len(METHODS) > 20 and "merge_tensors" in dir(cogen.merging)
print({"torch", "numpy", "yaml", "pydantic", "transformers"} & set(sys.modules))
"""
    assert run_python(code, tmp_path, tmp_path / "cache").strip() == "set()"


def test_every_public_name_is_there_and_documented() -> None:
    """And no other one is."""
    for name in set(cogen.merging.__all__) - {"METHODS"}:
        assert len((getattr(cogen.merging, name).__doc__ or "").split()) > 3, name
    with pytest.raises(AttributeError, match="nothing"):
        _ = cogen.merging.nothing


def test_the_table_of_methods_is_the_registered_one() -> None:
    """The host, which may not import the library, has the same table."""
    assert {name: f"cogen.merging.methods.{file}:{name}" for name, file in REGISTERED.items()} == METHODS
    for name in METHODS:
        method = load_method(name)
        assert isinstance(method, Method)
        assert method.name == name
        assert len(method.__doc__ or "") > 80
    with pytest.raises(UsageError, match="unknown merge method 'tiez'") as caught:
        load_method("tiez")
    assert "ties_peft" in str(caught.value.hint)


class TestMerge:
    def test_a_file_a_text_and_a_dictionary_are_one_recipe(self, models: Kitchen) -> None:
        """The same weights and digest; numbers, tuples and paths are plain data."""
        found = [
            merge(RECIPE, "one"),
            merge(TEXT, Path("two"), threads=1),
            merge(models.recipe(TEXT), "three", shard_size="1KB"),
            merge("config.yml", "four", shard_size=2000),
            merge({**RECIPE, "models": tuple(RECIPE["models"]), "base_model": Path("base")}, "five"),  # type: ignore[arg-type]
            merge("{merge_method: linear, models: [{model: a, parameters: {weight: 1}}]}", "six"),
        ]
        assert [result.folder.name for result in found] == ["one", "two", "three", "four", "five", "six"]
        digests = [result.weights_digest for result in found]
        assert digests[0].startswith("sha256:")
        assert len(set(digests[:5])) == 1
        assert digests[5] == open_folder(Path("a")).weights_digest
        assert (models.folder / "three" / "model.safetensors.index.json").is_file()
        assert (found[0].tensors, found[0].copied) == (len(models.tensors("base")), 0)
        assert found[0].bytes == sum(tensor.nbytes for tensor in models.tensors("one").values())

    def test_the_reporter(self, models: Kitchen) -> None:
        """One unit per tensor, out of a total; notes as they come."""

        class Log(Silent):
            def __init__(self) -> None:
                self.total: float | None = None
                self.done, self.notes = 0.0, list[str]()

            def begin(self, label: str, total: float | None, unit: str) -> None:
                assert (label, unit) == ("merging", "tensors")
                self.total = total

            def advance(self, n: float = 1) -> None:
                self.done += n

            def note(self, text: str) -> None:
                self.notes.append(text)

        log = Log()
        models.model("c", 5)
        models.model("d", 6)
        (models.folder / "c" / "tokenizer.json").write_text("{}")  # which the base lacks: worth a note
        result = merge(TEXT.replace("{model: a", "{model: c").replace("{model: b", "{model: d"), "out", reporter=log)
        assert log.done == log.total == result.tensors
        assert [f"note: {note}" for note in result.notes] == log.notes
        assert len(log.notes) == 1

    def test_methods_that_mergekit_lacks(self, models: Kitchen) -> None:
        """CoGen's own by their parameters, whole-model ones too; other people's by a lookup."""
        found = merge({**RECIPE, "merge_method": "ties_global", "parameters": {"density": 0.3}}, "global")
        own = {name: models.tensors(name) for name in ("base", "a", "b")}
        expected = merge_state_dicts(
            "ties_global", [own["a"], own["b"]], base=own["base"], weights=[1.0, 1.0], density=0.3
        )
        assert found.tensors == len(expected)
        whole = merge(TEXT.replace("[0.3, 0.7]", "1").replace("ties", "ties_global").replace("0.5", "0.3"), "whole")
        tensors = models.tensors("whole")
        assert all(torch.equal(bits(tensors[name]), bits(tensor)) for name, tensor in expected.items())
        assert whole.weights_digest != found.weights_digest

        def halfway(base: Any, experts: Any, weights: Any, *, strength: float = 0.5) -> torch.Tensor:
            moved: torch.Tensor = base + strength * (experts[0] + experts[1] - 2 * base)
            return moved

        recipe = {"merge_method": "halfway", "base_model": "base", "models": [{"model": "a"}, {"model": "b"}]}
        settings = {**recipe, "parameters": {"weight": 1, "strength": 0.25}}
        plugin = whole_tensor("halfway", halfway)
        merge(settings, "plugin", find_method=lambda name: plugin if name == "halfway" else None)
        name = "model.norm.weight"
        norm, a, b = (own[model][name].double() for model in ("base", "a", "b"))
        assert torch.allclose(models.tensors("plugin")[name].double(), norm + 0.25 * (a + b - 2 * norm), atol=1e-7)
        for lookup in (None, lambda _: None):
            with pytest.raises(UsageError, match="unknown merge_method 'halfway'") as caught:
                merge(settings, "none", find_method=lookup)
            assert "ties_peft" in str(caught.value.hint)
            assert "regmean" not in str(caught.value.hint)
        with pytest.raises(UsageError, match="halfway has no parameter 'strenght'"):
            merge({**recipe, "parameters": {"weight": 1, "strenght": 1}}, "none", find_method=lambda _: plugin)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({"density": "abc"}, "density of ties must be a number .got 'abc'."),
            ({"density": [0.5, "a"]}, "density of ties must be a number .got 'a'."),
            ({"density": True}, "density of ties must be a number .got true."),
            ({"normalize": "no"}, "normalize of ties must be true or false .got 'no'."),
            ({"normalize": 2}, "normalize of ties must be true or false .got 2."),
        ],
    )
    def test_values_of_another_type(self, value: dict[str, Any], message: str) -> None:
        """A text is never taken for true, nor true for 1."""
        one = torch.ones(4)
        with pytest.raises(UsageError, match=message):
            merge_tensors("ties", [one, one], base=one, **value)

    @pytest.mark.parametrize(("name", "needs"), [("regmean", "calibration data"), ("greedy_soup", "evaluation")])
    def test_methods_that_need_more_than_weights(self, models: Kitchen, name: str, needs: str) -> None:
        """They say what, and which command gives it."""
        with pytest.raises(UsageError, match=needs) as caught:
            merge({"merge_method": name, "models": [{"model": "a"}, {"model": "b"}]}, "out")
        assert "cogen fuse" in str(caught.value.hint)

    @pytest.mark.parametrize(
        ("config", "error", "message"),
        [
            ("absent.yml", SpecError, "absent.yml cannot be read"),
            ({"merge_method": "linear", "modles": []}, SpecError, "config, line 2: unknown key modles"),
            ({"merge_method": {1, 2}, "weights": object()}, SpecError, "config"),
            ("merge_method: linear\nmodels: [", SpecError, "config, line 2: not valid YAML"),
            ({**RECIPE, "merge_method": "tiez"}, UsageError, "unknown merge_method 'tiez'"),
        ],
    )
    def test_mistakes(self, models: Kitchen, config: Any, error: type[CogenError], message: str) -> None:
        """One line with a hint; nothing is written."""
        with pytest.raises(error, match=message) as caught:
            merge(config, "out")
        assert caught.value.hint
        assert not (models.folder / "out").exists()

    @pytest.mark.parametrize("size", ["much", "5B"])
    def test_sizes(self, models: Kitchen, size: str) -> None:
        with pytest.raises(UsageError, match="is not a size"):
            merge(RECIPE, "out", shard_size=size)


class TestTensors:
    @pytest.mark.parametrize("name", sorted(set(METHODS) - {"regmean"}))
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
    def test_it_is_what_the_method_gives(self, name: str, dtype: torch.dtype) -> None:
        """Widened to the accumulator, rounded once; a base that a method does not use does no harm."""
        method = load_method(name)
        base, *experts = related((6, 10), method.experts[1] or 3, 1, dtype)
        wide = torch.float32 if dtype == torch.bfloat16 else torch.float64
        required = {"t": 0.25} if "t" in method.parameters else {}
        found = merge_tensors(name, experts, base=base, **required)
        inputs = [expert.to(wide) for expert in experts]
        keys = [f"{i:04d}" for i in range(len(experts))]
        own = None if method.base == "unused" else base.to(wide)
        expected = method(own, inputs, [1.0] * len(experts), keys=keys, **required)
        assert found.dtype == dtype
        assert torch.equal(bits(found), bits(expected.to(dtype)))

    def test_keys_make_the_order_of_experts_irrelevant(self) -> None:
        """Random masks and sums follow the keys, as they follow the fingerprints of checkpoints."""
        base, a, b, c = related((8, 9), 3, 2, torch.bfloat16)
        one = merge_tensors("dare_ties", [a, b, c], base=base, weights=[1, 2, 3], keys="xyz", density=[0.5, 0.6, 0.7])
        other = merge_tensors("dare_ties", [c, a, b], base=base, weights=[3, 1, 2], keys="zxy", density=[0.7, 0.5, 0.6])
        assert torch.equal(bits(one), bits(other))
        seeds = {bytes(bits(merge_tensors("dare_linear", [a], base=base, seed=s)).numpy()) for s in range(3)}
        names = {bytes(bits(merge_tensors("dare_linear", [a], base=base, name=n)).numpy()) for n in "ab"}
        assert len(seeds) == 3
        assert len(names) == 2

    def test_one_expert_of_a_method_of_two(self) -> None:
        """The base is then the first of the two."""
        base, expert = related((4, 5), 1, 3, torch.float32)
        assert torch.equal(
            merge_tensors("slerp", [expert], base=base, t=0.3), merge_tensors("slerp", [base, expert], t=0.3)
        )

    def test_inputs_stay(self) -> None:
        """Views and other layouts are read as they are."""
        base, expert = related((5, 4), 1, 4, torch.float32)
        before = base.clone(), expert.clone()
        found = merge_tensors("linear", [expert.T, base.T])
        assert torch.equal(found, merge_tensors("linear", [expert, base]).T)
        assert torch.equal(base, before[0])
        assert torch.equal(expert, before[1])

    def test_regmean(self) -> None:
        """Equal Gram matrices: the mean."""
        a, b = torch.eye(3), 3 * torch.eye(3)
        gram = torch.eye(3)
        assert torch.allclose(merge_tensors("regmean", [a, b], grams=[gram, gram]), 2 * torch.eye(3), atol=1e-5)

    @pytest.mark.parametrize(
        ("method", "options", "message"),
        [
            ("tiez", {}, "unknown merge method"),
            ("ties", {"desnity": 1}, "no parameter 'desnity'"),
            ("ties", {"density": 2}, "density must be above 0"),
            ("ties", {"density": [0.5]}, "1 values of density for 2 experts"),
            ("ties", {"weights": [1.0]}, "1 weights for 2 experts"),
            ("ties", {"keys": ["a"]}, "1 keys for 2 experts"),
            ("ties", {"base": None}, "needs a base"),
            ("slerp", {}, "needs the parameter 't'"),
            ("passthrough", {}, "merges 1 model, not 2"),
            ("linear", {"weights": [1.0, -1.0]}, "weights sum to zero"),
            ("regmean", {}, "needs the parameter 'grams'"),
        ],
    )
    def test_mistakes(self, method: str, options: dict[str, Any], message: str) -> None:
        base, *experts = related((4, 5), 2, 5, torch.float32)
        with pytest.raises(UsageError, match=message) as caught:
            merge_tensors(method, experts, **{"base": base, **options})
        assert caught.value.hint

    def test_tensors_that_do_not_fit(self) -> None:
        with pytest.raises(UsageError, match="no experts"):
            merge_tensors("linear", [])
        with pytest.raises(CompatibilityError, match=r"float32 of shape \(2,\) and, in expert 1, .*\(3,\)"):
            merge_tensors("linear", [torch.ones(2), torch.ones(3)])
        with pytest.raises(CompatibilityError, match="int64 tensors cannot be merged"):
            merge_tensors("linear", [torch.ones(2, dtype=torch.int64)])


class TestStateDicts:
    def test_tensor_by_tensor(self) -> None:
        """With the tensor's name; what is not a floating-point number is copied."""
        base, a, b = ({"w": t, "v": t[0], "n": torch.tensor([i])} for i, t in enumerate(related((4, 5), 2, 6)))
        found = merge_state_dicts("dare_ties", [a, b], base=base, seed=3)
        assert list(found) == ["w", "v", "n"]
        for name in ("w", "v"):
            expected = merge_tensors("dare_ties", [a[name], b[name]], base=base[name], name=name, seed=3)
            assert torch.equal(found[name], expected)
        assert found["n"].tolist() == [0]

    def test_whole_model_methods_see_all_tensors(self) -> None:
        """The largest differences of the whole model are not those of each tensor."""
        base = {"x": torch.zeros(4), "y": torch.zeros(4)}
        expert = {"x": torch.tensor([1.0, 2.0, 3.0, 4.0]), "y": torch.tensor([5.0, 6.0, 7.0, 8.0])}
        found = merge_state_dicts("ties_global", [expert], base=base, density=0.5)
        assert (found["x"].tolist(), found["y"].tolist()) == ([0.0] * 4, [5.0, 6.0, 7.0, 8.0])
        alone = merge_state_dicts("ties", [expert], base=base, density=0.5)
        assert (alone["x"].tolist(), alone["y"].tolist()) == ([0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 7.0, 8.0])

    def test_other_names(self) -> None:
        with pytest.raises(CompatibilityError, match="only some models have the tensor 'y'"):
            merge_state_dicts("linear", [{"x": torch.ones(1)}, {"x": torch.ones(1), "y": torch.ones(1)}])

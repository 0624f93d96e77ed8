"""mergekit's YAML: what is read, and what is refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import CogenError, SpecError, UnsafeError
from cogen.merging.mergekit.document import read_document
from cogen.merging.mergekit.recipe import MergekitRecipe, read_recipe
from cogen.merging.mergekit.reference import ModelLocation, Reference, parse_reference
from cogen.merging.mergekit.settings import convert, parse_setting, value_of
from cogen.merging.parameters import Conditional


def read(folder: Path, text: str) -> MergekitRecipe:
    (folder / "config.yml").write_text(text, encoding="utf-8")
    return read_recipe(folder / "config.yml")[0]


WHOLE = """\
merge_method: ties
base_model: org/base@v1
models:
  - model: org/one
    parameters:
      weight: 0.5
      density: [0.2, 0.8]
  - model: org/two+org/lora@main
    parameters:
      weight:
        - filter: mlp
          value: [1, 0]
        - value: 1e-1
parameters: {normalize: true, lambda: 0.7, int8_mask: true}
dtype: float32
out_dtype: bfloat16
tokenizer:
  source: union
  tokens:
    <|im_start|>: {source: org/two+org/lora@main, force: true}
    <|new|>: {source: {kind: model_token, model: org/one, token_id: 3}}
    <|zero|>: {source: {kind: zero}}
  pad_to_multiple_of: 64
chat_template: auto
"""


def test_everything_that_the_guide_documents(tmp_path: Path) -> None:
    """One recipe with each of its keys."""
    found = read(tmp_path, WHOLE)
    two = Reference(ModelLocation("org/two"), ModelLocation("org/lora", "main"))
    assert found.base_model == Reference(ModelLocation("org/base", "v1"))
    assert found.models is not None
    assert [model.model for model in found.models] == [Reference(ModelLocation("org/one")), two]
    assert found.models[0].parameters == {"weight": 0.5, "density": (0.2, 0.8)}
    assert found.models[1].parameters["weight"] == (
        Conditional(filter="mlp", value=(1.0, 0.0)),
        Conditional(value="1e-1"),  # YAML 1.1 takes it for a text
    )
    assert found.parameters == {"normalize": True, "lambda": 0.7, "int8_mask": True}
    assert (found.dtype, found.out_dtype, found.chat_template) == ("float32", "bfloat16", "auto")
    assert found.tokenizer is not None
    assert found.tokenizer.tokens is not None
    assert found.tokenizer.tokens["<|im_start|>"].source == two
    assert found.tokenizer.tokens["<|new|>"].source.token_id == 3
    assert found.tokenizer.tokens["<|zero|>"].source.kind == "zero"
    assert found.tokenizer.pad_to_multiple_of == 64


def test_slices_and_a_single_module(tmp_path: Path) -> None:
    """Slices may stand below the only module, with settings of its own."""
    text = """\
merge_method: passthrough
modules:
  default:
    parameters: {scale: 2}
    slices:
      - sources: [{model: a/b, layer_range: [0, 4]}]
      - sources: [{model: a/b, layer_range: [2, 8]}]
        parameters:
"""
    found = read(tmp_path, text)
    assert found.modules is not None
    module = found.modules["default"]
    assert module.slices is not None
    assert [s.sources[0].layer_range for s in module.slices] == [(0, 4), (2, 8)]
    assert module.parameters == {"scale": 2.0}


MODELS = "models: [{model: a/b}]\n"
SLICE = "merge_method: linear\nslices: [{sources: [{model: a/b, layer_range: [0, 1]}], %s}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merge_method: ties\ndtpye: bfloat16\n" + MODELS, "line 2: unknown key dtpye"),
        ("merge_method: ties\nmodels:\n- model: a/b\n  paramters: {}\n", r"line 4: unknown key models\.0\.paramters"),
        (SLICE % "residual_weight: 0.5", r"line 2: unknown key slices\.0\.residual_weight"),
        ("merge_method: linear\nexperts: []\n" + MODELS, "line 2: unknown key experts"),
        ("merge_method: linear\nname: x\n" + MODELS, "line 2: unknown key name"),
        (
            "tokenizer: {source: union, tokns: {}}\nmerge_method: linear\n" + MODELS,
            r"line 1: unknown key tokenizer\.tokns",
        ),
        (MODELS, "merge_method is missing"),
        ("merge_method: linear\n", "give one of models, slices and modules"),
        ("merge_method: linear\nslices: []\nmodels: []\n", "give one of models, slices and modules"),
        (SLICE % "parameters: {}" + MODELS, "give one of models, slices and modules"),
        ("merge_method: linear\nmodules: {}\n", "give one of models, slices and modules"),
        (
            "merge_method: linear\nmodules: {text: {models: [{model: a/b}]}, vision: {models: [{model: a/b}]}}\n",
            r"several modules \(text, vision\) are not supported",
        ),
        ("merge_method: linear\nmodules: {text: {}}\n", r"modules\.text: give either models or slices"),
        (
            "merge_method: linear\ntokenizer_source: base\ntokenizer: {source: base}\n" + MODELS,
            "either tokenizer or tokenizer_source",
        ),
        (
            "merge_method: linear\nmodels:\n- model: {model: a/b, override_architecture: Llama}\n",
            r"line 3: models\.0\.model: override_architecture is not supported",
        ),
        ("merge_method: linear\nmodels: [{model: a+b+c}]\n", r"models\.0\.model: 'a\+b\+c' has more than one \+"),
        ("merge_method: linear\nmodels: [{model: a@b@c}]\n", "more than one @"),
        ("merge_method: linear\nmodels: [{model: 5}]\n", "5 is not a model"),
        ("merge_method: linear\nmodels: [{}]\n", r"models\.0: model is missing"),
        ("merge_method: linear\nslices: [{sources: []}]\n", r"slices\.0\.sources"),
        (
            "merge_method: linear\nslices: [{sources: [{model: a/b}]}]\n",
            r"slices\.0\.sources\.0: layer_range is missing",
        ),
        (
            "merge_method: linear\nslices: [{sources: [{model: a/b, layer_range: [3, 3]}]}]\n",
            r"\[3, 3\] is not a",
        ),
        (
            "merge_method: linear\nslices: [{sources: [{model: a/b, layer_range: [-1, 3]}]}]\n",
            r"\[-1, 3\] is not a",
        ),
        ("merge_method: linear\nparameters: {weight: {x: 1}}\n" + MODELS, r"parameters\.weight: unknown key 'x'"),
        ("merge_method: linear\nparameters: {weight: [{filter: a}]}\n" + MODELS, "condition without a value"),
        ("merge_method: linear\nparameters: {weight: [{filter: 3, value: 1}]}\n" + MODELS, "filter 3 is not a text"),
        ("merge_method: linear\nparameters: {weight: [{value: []}]}\n" + MODELS, "empty list"),
        ("merge_method: linear\nparameters: {weight: [1, {value: 2}]}\n" + MODELS, "is not a value"),
        ("merge_method: linear\nparameters: {weight: null}\n" + MODELS, "None is not a value"),
        (
            "merge_method: linear\ntokenizer: {tokens: {x: {source: {kind: model_token, model: a/b}}}}\n" + MODELS,
            "either token or token_id",
        ),
        (
            "merge_method: linear\ntokenizer: {tokens: {x: {source: {kind: zero, token: y}}}}\n" + MODELS,
            "kind zero takes no token",
        ),
        ("merge_method: linear\ntokenizer: {pad_to_multiple_of: 0}\n" + MODELS, r"tokenizer\.pad_to_multiple_of"),
        ("merge_method: linear\nmerge_method: ties\n" + MODELS, "line 2: duplicate key merge_method"),
        ("- a\n- b\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("merge_method: [\n", "line 2: not valid YAML"),
        ("merge_method: linear\n---\nmerge_method: ties\n", "several documents"),
    ],
)
def test_what_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    """With its place, its line where it has one, and a hint; nothing is ignored."""
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    assert re.search(message, caught.value.message), caught.value.message
    assert caught.value.message.startswith("config.yml")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_old_keys_say_what_to_write(tmp_path: Path) -> None:
    """Keys of older recipes and of other tools."""
    hints = {
        "out_path: x\n": "-o",
        "experts: []\n": "mixture",
        "name: x\n": "mergekit-multi",
        "genome: {}\n": "--search",
    }
    for text, hint in hints.items():
        with pytest.raises(SpecError) as caught:
            read(tmp_path, "merge_method: linear\n" + MODELS + text)
        assert hint in str(caught.value.hint)
    with pytest.raises(SpecError) as caught:
        read(tmp_path, "merge_method: linear\nmodels: [{model: a/b, revision: c}]\n")
    assert caught.value.hint == "write model@revision"
    with pytest.raises(SpecError, match="unknown key 'pattern' of a condition: it has a filter and a value"):
        read(tmp_path, "merge_method: linear\nparameters: {t: [{pattern: x, value: 1}]}\n" + MODELS)


@pytest.mark.parametrize(
    "text",
    [
        "merge_method: !!python/object/apply:os.system ['true']\n",
        "a: &a [*a]\n",
        "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40)),
    ],
)
def test_hostile_yaml_is_refused(tmp_path: Path, text: str) -> None:
    """Tags that build objects, aliases of themselves, and aliases that multiply."""
    with pytest.raises(CogenError) as caught:
        read(tmp_path, text)
    assert isinstance(caught.value, (UnsafeError, SpecError))


def test_plain_aliases_are_values(tmp_path: Path) -> None:
    """Anchors and merge keys are YAML like any other."""
    text = "merge_method: linear\nparameters: &p {weight: 1}\nmodels: [{model: a/b, parameters: *p}]\n"
    found = read(tmp_path, text)
    assert found.models is not None
    assert found.models[0].parameters == found.parameters == {"weight": 1.0}


def test_files_that_are_none(tmp_path: Path) -> None:
    """Missing, a folder, binary, huge: one line each."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge").write_bytes(b"a: b\n" * 300_000)
    for name, message in (("none", "cannot be read"), (".", "cannot be read"), ("binary", "UTF-8"), ("huge", "1 MB")):
        with pytest.raises(SpecError, match=message):
            read_document(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("org/name", Reference(ModelLocation("org/name"))),
        ("org/name@rev", Reference(ModelLocation("org/name", "rev"))),
        ("org/name+org/lora", Reference(ModelLocation("org/name"), ModelLocation("org/lora"))),
        ("org/name@a+org/lora@b", Reference(ModelLocation("org/name", "a"), ModelLocation("org/lora", "b"))),
        ({"model": "org/name@a"}, Reference(ModelLocation("org/name", "a"))),
        (
            {"model": {"path": "with space", "revision": "a"}, "lora": "x/y"},
            Reference(ModelLocation("with space", "a"), ModelLocation("x/y")),
        ),
    ],
)
def test_references(value: Any, expected: Reference) -> None:
    """mergekit's ways to name a model."""
    assert parse_reference(value) == expected


def test_a_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is taken as it is called, with + and @."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b@c").mkdir()
    assert parse_reference("a+b@c") == Reference(ModelLocation("a+b@c"))


class TestSettings:
    """Scalars, gradients and conditions, typed by the parameter that they are for."""

    @pytest.mark.parametrize(
        ("value", "kind", "expected"),
        [
            ("1e-5", "number", 1e-5),
            (2, "number", 2.0),
            (True, "number", 1.0),
            ("0.5", "number", 0.5),
            ("false", "switch", False),
            (1, "switch", True),
            ("yes", "switch", True),
            ("10", "integer", 10.0),
        ],
    )
    def test_numbers_and_switches_may_be_texts(self, value: Any, kind: Any, expected: Any) -> None:
        """YAML reads 1e-5 as a text; it is a number where a number is wanted."""
        found = convert(parse_setting(value), kind, "t")
        assert found == expected
        assert type(found) is type(expected)

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ("much", "number"),
            (".nan", "number"),
            ("inf", "number"),
            (float("inf"), "number"),
            ("maybe", "switch"),
            (0.5, "switch"),
            ([1, "much"], "number"),
            ({"value": "much"}, "number"),
        ],
    )
    def test_other_types_are_refused(self, value: Any, kind: Any) -> None:
        """A word is not a number, nor is what is not finite."""
        with pytest.raises(CogenError, match="t is "):
            convert(parse_setting(value), kind, "t")

    @pytest.mark.parametrize(("position", "expected"), [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.75, 3.0), (1.0, 3.0)])
    def test_gradient(self, position: float, expected: float) -> None:
        """[1, 3, 3] at a quarter is half way from the first to the second."""
        assert (
            value_of([{"t": convert(parse_setting(["1", 3, 3]), "number", "t")}], "t", "", position, "number")
            == expected
        )

    def test_switches_step(self) -> None:
        """Between two switches there is nothing: the last value is that of the end alone."""
        levels = [{"normalize": parse_setting([True, False])}]
        found = [value_of(levels, "normalize", "", p, "switch") for p in (0.0, 0.5, 0.99, 1.0)]
        assert found == [True, True, True, False]

    def test_whole_numbers_stay_whole(self) -> None:
        """A gradient from 1 to 2 has no value half way."""
        levels = [{"max_iter": convert(parse_setting([1, 2]), "integer", "max_iter")}]
        assert value_of(levels, "max_iter", "", 1.0, "integer") == 2
        with pytest.raises(CogenError, match=r"max_iter is 1\.5 for x, not a whole number"):
            value_of(levels, "max_iter", "x", 0.5, "integer")

    def test_levels(self) -> None:
        """The nearest level that has a value for the tensor; an empty list, or no condition that fits, is none."""
        levels = [
            {"weight": parse_setting([])},
            {"weight": parse_setting({"filter": "mlp", "value": 3})},
            {"weight": parse_setting([{"filter": "attn", "value": 5}, {"filter": "*", "value": 7}])},
        ]
        names = {"a.mlp.b": 3.0, "a.attn.b": 5.0, "norm": 7.0}
        assert {name: value_of(levels, "weight", name, 0.0, "number") for name in names} == names
        assert value_of(levels[:2], "weight", "norm", 0.0, "number") is None

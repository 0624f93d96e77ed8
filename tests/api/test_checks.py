"""Arguments of wrong types are one line and a hint, whatever they are; nothing is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cogen
from cogen.api.options import recipe_from_options
from cogen.errors import CogenError, UsageError


def options_of(**options: Any) -> dict[str, Any]:
    experts, recipe = options.pop("experts", None), options.pop("recipe", None)
    return recipe_from_options(experts, recipe, options).model_dump(exclude_unset=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 5}, "experts must be names, not 5"),
        ({"experts": [5]}, "experts must be names, not [5]"),
        ({"experts": [["power"]]}, "experts must be names, not [['power']]"),
        ({"experts": b"power"}, "experts must be names, not b'power'"),
        ({"parameters": "density"}, "parameters must be a mapping, not 'density'"),
        ({"space": ["density"]}, "space must be a mapping, not ['density']"),
        ({"recipe": {"parameters": "x"}, "parameters": {"density": 0.3}}, "parameters must be a mapping, not 'x'"),
        ({"recipe": {"distill": None}, "tokens": 5}, "distill must be a mapping, not None"),
        ({"texts": [5]}, "texts must be a path, not 5"),
        ({"texts": 5}, "texts must be a path, not 5"),
        ({"recipe": 5}, "recipe must be a path, not 5"),
        ({"recipe": [1]}, "recipe must be a path, not [1]"),
    ],
)
def test_wrong_types_of_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        options_of(**options)
    assert error.value.message == message
    assert error.value.hint


@pytest.mark.parametrize("texts", ["a.jsonl", Path("a.jsonl"), ["a.jsonl"], (path for path in [Path("a.jsonl")])])
def test_one_text_is_one_path(texts: Any) -> None:
    """And not the letters of its name."""
    assert options_of(texts=texts)["distill"]["texts"] == ("a.jsonl",)


@pytest.mark.parametrize("former", ["student", "pivot"])
def test_the_student_overrides_that_of_a_recipe(former: str) -> None:
    """Under either of its names in a recipe."""
    found = options_of(recipe={"distill": {former: "energy", "rank": 8}}, student="power")
    assert found["distill"] == {"pivot": "power", "rank": 8}


def test_experts_in_any_form() -> None:
    assert options_of(experts="power") == {"experts": {"power": 1.0}}
    assert options_of(experts=(id for id in ("bb", "aa"))) == {"experts": {"bb": 1.0, "aa": 1.0}}
    assert options_of(experts={"aa": 2, "bb": {"weight": 0.5}})["experts"] == {"aa": 2.0, "bb": {"weight": 0.5}}
    assert options_of() == {}


class Half:
    """A reporter that lacks a method."""

    def describe(self, label: str) -> None: ...


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "plan": lambda **more: cogen.plan(["power"], **more),
    "fuse": lambda **more: cogen.fuse(["power"], "out", **more),
    "update": lambda **more: cogen.update("composite", "out", add=["power"], **more),
    "merge": lambda **more: cogen.merge("config.yml", "out", **more),
    "evaluate": lambda **more: cogen.evaluate("base", **more),
    "chat": lambda **more: cogen.chat("power", **more),
    "train": lambda **more: cogen.train("recipe.toml", **more),
    "plan_training": lambda **more: cogen.plan_training("recipe.toml", **more),
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("reporter", [None, "x", Half()])
def test_a_reporter_has_three_methods(name: str, reporter: object) -> None:
    with pytest.raises(UsageError, match="reporter must have the methods describe, advance and note"):
        FUNCTIONS[name](reporter=reporter)


@pytest.mark.parametrize("name", ["plan", "fuse", "evaluate", "chat"])
def test_a_host_is_a_host(name: str) -> None:
    with pytest.raises(UsageError, match=r"host must be a cogen\.Host, not 'x'"):
        FUNCTIONS[name](host="x")
    with pytest.raises(UsageError, match=r"host must be a cogen\.Host, not 'x'"):
        cogen.list_experts(host="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, 5, {}])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("output", lambda path: cogen.fuse(["power"], path)),
        ("output", lambda path: cogen.merge({}, path)),
        ("output", lambda path: cogen.update("composite", path, add="power")),
        ("composite", lambda path: cogen.update(path, "out", add="power")),
        ("folder", lambda path: cogen.Composite.open(path)),
        ("model", lambda path: cogen.evaluate(path)),
        ("model", lambda path: cogen.chat(path)),
        ("recipe", lambda path: cogen.train(path)),
        ("recipe", lambda path: cogen.plan_training(path)),
    ],
)
def test_paths(name: str, call: Callable[[Any], Any], path: Any) -> None:
    with pytest.raises(UsageError) as error:
        call(path)
    assert error.value.message == f"{name} must be a path, not {path!r}"
    assert error.value.hint


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cogen.merge("x.yml", "out", threads=0), "threads must be a whole number of at least 1, not 0"),
        (lambda: cogen.merge("x.yml", "out", seed=-1), "seed must be a whole number of at least 0, not -1"),
        (lambda: cogen.merge("x.yml", "out", shard_size=0), "shard_size must be a whole number of at least 1, not 0"),
        (lambda: cogen.evaluate("base", max_length=0), "max_length must be a whole number of at least 16, not 0"),
        (lambda: cogen.evaluate("base", max_length="x"), "max_length must be a whole number of at least 16, not 'x'"),  # type: ignore[arg-type]
        (lambda: cogen.evaluate("base", suites=5), "suites must be names, not 5"),  # type: ignore[arg-type]
        (lambda: cogen.chat("power", max_tokens=0), "max_tokens must be a whole number of at least 1, not 0"),
        (lambda: cogen.chat("power", temperature=-1), "temperature must be a number of at least 0, not -1"),
        (lambda: cogen.chat("power", temperature=float("nan")), "temperature must be a number of at least 0, not nan"),
        (lambda: cogen.chat("power", seed=True), "seed must be a whole number of at least 0, not True"),
        (lambda: cogen.fuse("power", "out", on_plan="x"), "on_plan must be a function, not 'x'"),  # type: ignore[arg-type]
        (lambda: cogen.fuse(output="out", plan=5), "plan must be a path, not 5"),  # type: ignore[arg-type]
        (lambda: cogen.fuse(output="out", lock={}), "lock must be a path, not {}"),  # type: ignore[arg-type]
        (lambda: cogen.update("c", "out", add=5), "add must be names, not 5"),  # type: ignore[arg-type]
        (lambda: cogen.update("c", "out", remove=[5]), "remove must be names, not [5]"),  # type: ignore[list-item]
    ],
)
def test_values(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        call()
    assert error.value.message == message
    assert error.value.hint


@pytest.mark.parametrize("parent", ["file", "missing"])
def test_a_folder_that_cannot_be_made(parent: str, experts: Path, tmp_path: Path) -> None:
    """Not an OSError: a mistake that a caller can fix."""
    (tmp_path / "file").write_text("x")
    output = tmp_path / "file" / "duo" if parent == "file" else Path("/proc/nothing/duo")
    with pytest.raises(CogenError, match=r"duo cannot be written: ") as error:
        cogen.fuse(["power", "energy"], output, level="none", scale=0.5)
    assert error.value.hint


def test_a_lock_file_names_its_composite(experts: Path, tmp_path: Path) -> None:
    """`cogen fuse --lock` takes the folder or the file; so does an update."""
    cogen.fuse(["power", "energy"], tmp_path / "duo", level="none", scale=0.5)
    updated = cogen.update(tmp_path / "duo" / "cogen.lock", tmp_path / "solo", remove="power", level="none")
    assert updated.experts == ("energy",)


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ([], "no expert is named"),
        (iter(()), "no expert is named"),
        ({}, "no expert is named"),
        (["power", "power"], "power is named twice"),
    ],
)
def test_which_experts_is_no_accident(experts: object, message: str) -> None:
    """An empty selection fuses nothing, and never everything that is installed."""
    with pytest.raises(UsageError, match=message) as caught:
        cogen.plan(experts)  # type: ignore[arg-type]
    assert caught.value.hint

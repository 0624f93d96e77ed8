"""What `cogen plan` and `cogen fuse` make of their options: a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cogen.api.options import recipe_from_options
from cogen.cli.options import FuseArguments
from cogen.cli.values import read_experts
from cogen.errors import UsageError
from cogen.fusion.recipe import FuseRecipe


def recipe_of(experts: list[str] | None = None, *, set: list[str] | None = None, **options: Any) -> FuseRecipe:
    """The recipe of options by their names on the command line."""
    keywords = FuseArguments(set_=set, **options).keywords()
    return recipe_from_options(read_experts(experts), keywords.pop("recipe", None), keywords)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.3", 0.3),
        (".5", 0.5),
        ("-2", -2.0),
        ("1e-3", 0.001),
        ("true", True),
        ("false", False),
        ("[0.3, 0.7]", (0.3, 0.7)),
        ("[0.3,0.7,1]", (0.3, 0.7, 1.0)),
        ("paper", "paper"),
        ('"two words"', "two words"),
        ("'0.5'", "0.5"),
        ("a=b", None),
    ],
)
def test_set_takes_what_a_recipe_takes(text: str, value: Any) -> None:
    """Numbers, switches, gradients and words, as in TOML; a word may stand without its quotes."""
    if value is None:
        with pytest.raises(UsageError):
            recipe_of(set=[f"k={text}"])
        return
    found = recipe_of(set=[f"k={text}"]).parameters["k"]
    assert found == value
    assert type(found) is type(value)


def test_conditions_by_tensor_name() -> None:
    """Inline tables, as in a recipe."""
    first, second = recipe_of(set=['k=[{filter = "mlp", value = 0.3}, {value = [0.1, 0.2]}]']).parameters["k"]
    assert (first.filter, first.value) == ("mlp", 0.3)
    assert (second.filter, second.value) == (None, (0.1, 0.2))


def test_search_and_tune() -> None:
    """A budget, and bounds for parameters and weights."""
    found = recipe_of(search=20, tune=["density=0.2:0.9", "weight.power=0:2", "k=-1:1e-3"])
    assert found.search == 20
    assert found.space == {"density": (0.2, 0.9), "weight.power": (0.0, 2.0), "k": (-1.0, 0.001)}
    assert (recipe_of().search, recipe_of().space) == (0, {})


def test_the_command_line_wins_over_the_recipe(tmp_path: Path) -> None:
    """Field by field; of parameters and space, name by name. What it does not mention stays."""
    (tmp_path / "r.toml").write_text(
        'method = "ties"\nsearch = 20\n[space]\ndensity = [0.2, 0.9]\nscale = [0, 1]\n'
        "[experts.power]\nweight = [0.5, 1.5]\nparameters = {density = 0.3}\n[parameters]\nk = 1\nl = false\n"
    )
    found = recipe_of(recipe=tmp_path / "r.toml", search=5, tune=["density=0.1:0.5"], set=["k=2"])
    assert (found.method, found.search) == ("ties", 5)
    assert found.space == {"density": (0.1, 0.5), "scale": (0.0, 1.0)}
    assert found.parameters == {"k": 2.0, "l": False}
    assert found.options("power").weight == (0.5, 1.5)
    assert recipe_of(recipe=tmp_path / "r.toml").search == 20
    assert recipe_of(recipe=tmp_path / "r.toml", search=0, tune=[]).search == 0


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"set": ["density"]}, "'density' is not NAME=VALUE", "--set density=0.3"),
        ({"set": ["=0.3"]}, "'=0.3' is not NAME=VALUE", "--set"),
        ({"set": ["k="]}, "'k=' is not NAME=VALUE", "--set"),
        ({"set": ["k=[0.3"]}, "'k=[0.3' is not NAME=VALUE", "[0.3, 0.7]"),
        ({"set": ["k=1\nb=2"]}, "is not NAME=VALUE", "--set"),
        ({"set": ["k=true\nb=2"]}, "is not NAME=VALUE", "--set"),
        ({"set": ["k=nan"]}, "parameters.k: Input should be a finite number", "--help"),
        ({"set": ["k=[]"]}, "parameters.k: an empty list gives no value", "--help"),
        ({"set": ["k=1979-05-27"]}, "parameters.k: a value of this type is not possible here", "--help"),
        ({"tune": ["density"]}, "'density' is not NAME=LOW:HIGH", "--tune density=0.2:0.9"),
        ({"tune": ["density=0.3"]}, "'density=0.3' is not NAME=LOW:HIGH", "--tune"),
        ({"tune": ["density=low:high"]}, "is not NAME=LOW:HIGH", "--tune"),
        ({"tune": ["density=0:inf"]}, "space.density.1: Input should be a finite number", "--help"),
        ({"search": -1}, "search: Input should be greater than or equal to 0", "--help"),
        ({"experts": ["power=x"]}, "'power=x' is not ID=WEIGHT", "power=0.5"),
        ({"experts": ["power=1", "power=2"]}, "power has two weights, 1 and 2", "name it once"),
        ({"experts": ["power=0"]}, "experts.power: Input should be greater than 0", "--help"),
    ],
)
def test_mistakes_are_explained(options: dict[str, Any], message: str, hint: str) -> None:
    """What was typed, what it should look like, and an example."""
    with pytest.raises(UsageError) as caught:
        recipe_of(**options)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)

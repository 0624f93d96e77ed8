"""What a recipe may not say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.training import recipe_document

from cogen.forge.recipe import TrainRecipe


@pytest.mark.parametrize(("one", "other"), [("notes", "notes"), ("notes", "Notes"), ("ward3", "ｗａｒｄ3")])
def test_two_sources_of_one_name(one: str, other: str) -> None:
    """How far a text may go is decided by its source's name: a private text would go as far as a public one."""
    document = recipe_document("smollm2-135m-instruct")
    source = document["corpus"]["sources"][0] | {"heldout": False}
    document["corpus"]["sources"] = [source | {"name": one, "leaves": "heldout"}, source | {"name": other}]
    with pytest.raises(ValidationError, match=f"two sources are called '{one}' and '{other}'"):
        TrainRecipe.model_validate(document)
    document["corpus"]["sources"][1]["name"] = "letters"
    assert len(TrainRecipe.model_validate(document).corpus.sources) == 2

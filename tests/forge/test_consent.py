"""What the card of a recipe says of all text, and a source of its own."""

from __future__ import annotations

from typing import Any

import pytest
from support.training import recipe_document, source

from cogen.errors import TrainError
from cogen.forge.build import prepare


@pytest.mark.parametrize("card", ["none", "removed"])
@pytest.mark.parametrize("own", ["present", "unknown"])
def test_card_and_source_contradict_each_other(recipe: Any, card: str, own: str) -> None:
    """Before anything is trained."""
    fields = recipe_document({})["card"] | {"personal_data": card}
    sources = [source(heldout=False, leaves="figures", personal_data=own)]
    with pytest.raises(TrainError, match=f"'{own}', and the card says '{card}' of all text") as refused:
        prepare(recipe(corpus={"sources": sources}, card=fields))
    assert f'[card] personal_data = "{own}"' in str(refused.value.hint)
    assert prepare(recipe(corpus={"sources": sources}, card=fields | {"personal_data": "present"})).corpus.train

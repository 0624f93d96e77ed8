"""TODO in a field that ships is found, by a name that its publisher knows; and how far text may go."""

from __future__ import annotations

from itertools import product

import pytest
from support.manifests import manifest
from support.training import recipe_document

from cogen.forge.recipe import TrainRecipe
from cogen.spec.consent import oversteps, reaches
from cogen.spec.data import Leaves, PersonalData
from cogen.spec.expert import ExpertSpec
from cogen.spec.unfinished import is_unfinished, unfinished

LEVELS: list[Leaves] = ["nothing", "figures", "samples", "heldout"]


@pytest.mark.parametrize(
    "text", ["TODO", "todo", "TODO: one line", "todo: one line", "a TODO inside", "LicenseRef-TODO"]
)
def test_placeholders(text: str) -> None:
    assert is_unfinished(text)


@pytest.mark.parametrize(
    "text",
    [
        "ＴＯＤＯ",
        "ＴＯＤＯ：填写",
        "todo：填写",
        "T\u200bODO",
        "To-Do",
        "TO DO: ask",
        "todo!",
        "todo.",
        "(todo)",
        "TODO_LICENSE",
        "TODOs",
        "TODO1",
        "todo1",
        "Todo later",
        "todo write this",
        "todo — write",
        "todo – write",
        "todo - write",
        "License: todo",
        "license: ToDo.",
        "License: TODO",
        "TBD",
        "(tbd)",
        "License: TBD",
        "待办",
        "待办。",
        "待办：写摘要",
        "许可证：待定",
    ],
)
def test_placeholders_as_people_type_them(text: str) -> None:
    """Full-width letters of a Chinese keyboard, hyphens, invisible characters."""
    assert is_unfinished(text)


@pytest.mark.parametrize(
    "text",
    [
        "a to-do list",
        "todo-lists of wards",
        "to do no harm",
        "To do: nothing of it is known",
        "TBD (tick-borne disease) and Lyme borreliosis",
        "TBD: tick-borne diseases of the Alps",
        "Notes on TBD of dogs",
        "待办事项的清单",
        "待定因素的研究",
    ],
)
def test_sentences(text: str) -> None:
    """English that begins with the words, and texts about lists."""
    assert not is_unfinished(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "MASTODON",
        "TODOS",
        "Todos los pacientes",
        "Todos: adultos y niños",
        "Sobre todo, textos en español",
        "todo el texto",
        "Todo paciente que ingresa",
        "Todo o material do hospital",
        "Todo me parece bien",
        "Contenido: todo",
        "Incluye de todo.",
    ],
)
def test_words(text: str) -> None:
    """The word as a part of others, and in languages where it is one."""
    assert not is_unfinished(text)


def test_of_a_recipe() -> None:
    """Every field that ships, by name; patterns that look for the word do not count."""
    document = recipe_document("smollm2-135m-instruct")
    assert unfinished(TrainRecipe.model_validate(document)) == []
    document["card"] |= {"license": "TODO", "domains": ["TODO", "law"], "summary": "TODO: one line"}
    document["corpus"]["sources"][0] |= {"drop": ["TODO"], "exclude": ["TODO"], "license": "TODO", "heldout": False}
    other = document["corpus"]["sources"][0] | {"name": "TODO", "license": "MIT"}
    document["corpus"]["sources"].append(other)
    assert unfinished(TrainRecipe.model_validate(document)) == [
        "corpus.sources[0].license",
        "corpus.sources[1].name",
        "card.summary",
        "card.domains[0]",
        "card.license",
    ]


def test_of_a_manifest() -> None:
    """The card, its sources and the suites."""
    document = manifest("power")
    assert unfinished(ExpertSpec.model_validate(document)) == []
    document |= {"license": "TODO", "contact": "todo"}
    document["data"]["limitations"] = "TODO"
    document["suites"][0]["title"] = "TODO"
    document["suites"][0]["test"]["license"] = "TODO"
    assert unfinished(ExpertSpec.model_validate(document)) == [
        "contact",
        "license",
        "data.limitations",
        "suites[0].title",
        "suites[0].test.license",
    ]


def test_levels_are_in_order() -> None:
    """Each level includes those before it."""
    for (i, one), (j, other) in product(enumerate(LEVELS), repeat=2):
        assert reaches(one, other) == (i >= j)


@pytest.mark.parametrize("personal", ["none", "removed", "present", "unknown"])
def test_personal_data_stops_text(personal: PersonalData) -> None:
    """Figures may go in any case; text only where somebody looked and found none."""
    forbidden = [level for level in LEVELS if oversteps(level, personal)]
    assert forbidden == (["samples", "heldout"] if personal in ("present", "unknown") else [])

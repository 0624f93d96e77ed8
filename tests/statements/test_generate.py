"""Laws of minimal pairs and cloze items."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from cogen.statements import Field, StatementItem, StatementText, cloze, pairs, read_field
from cogen.statements.field import quantities
from cogen.statements.files import json_lines
from cogen.statements.numbers import form, is_quantity, value
from cogen.statements.prose import Sentence, is_statement, sentences
from cogen.statements.shapes import shape
from cogen.statements.slots import Line
from cogen.statements.terms import find_terms
from cogen.statements.tokens import tokens
from cogen.statements.units import group_of, unit_after
from cogen.statements.words import _of_list, is_term


def both(item: StatementItem) -> tuple[str, str]:
    """(true word, false word) of a pair."""
    return item.words[item.answer], item.words[1 - item.answer]


def test_the_same_texts_give_the_same_pairs(texts: list[str], field: Field, passages: list[StatementText]) -> None:
    again = pairs(passages, read_field(texts))
    assert again == pairs(passages, field)
    assert again[:10] == pairs(passages, field, limit=10)


def test_pairs_of_a_shuffled_list_are_the_same(field: Field, passages: list[StatementText]) -> None:
    mixed = random.Random(1).sample(passages, len(passages))
    found, again = pairs(passages, field), pairs(mixed, field)
    assert sorted(i.choices for i in found) == sorted(i.choices for i in again)


def test_every_kind_of_pair_is_found(field: Field, passages: list[StatementText]) -> None:
    assert set(Counter(item.kind for item in pairs(passages, field))) >= {"number", "unit"}


def test_choices_differ_in_the_place_alone_and_the_true_one_is_the_text(
    field: Field, passages: list[StatementText]
) -> None:
    for item in pairs(passages, field) + cloze(passages, field):
        assert item.context + item.choices[item.answer] in item.passage.text
        assert len(set(item.words)) == len(item.choices)
        rests = {c[: s[0]] + "\0" + c[s[1] :] for c, s in zip(item.choices, item.spans, strict=True)}
        assert len(rests) == 1


def test_a_replacement_is_of_the_same_kind(field: Field, passages: list[StatementText]) -> None:
    for item in pairs(passages, field):
        true, false = both(item)
        if item.kind == "number":
            assert form(true) == form(false)
            assert max(value(true), value(false)) >= 1.2 * min(value(true), value(false))
        elif item.kind == "unit":
            assert group_of(true) == group_of(false)
            assert group_of(true)[true] != group_of(true)[false]
        else:
            assert shape(true) == shape(false)


def test_a_replacement_stands_nowhere_in_the_document(field: Field, passages: list[StatementText]) -> None:
    for item in pairs(passages, field) + cloze(passages, field):
        if item.kind == "unit":
            continue
        there = {token.text.lower() for token in tokens(item.passage.text, field.known_terms)}
        assert not there & {word.lower() for n, word in enumerate(item.words) if n != item.answer}


def test_the_true_sentence_is_not_always_at_the_same_index(field: Field, passages: list[StatementText]) -> None:
    """A model that likes all choices alike gets the first one: it must not be right every time."""
    assert len({item.answer for item in pairs(passages, field)}) == 2


def test_chinese_terms_are_found_without_a_dictionary_and_replaced(
    texts: list[str], field: Field, passages: list[StatementText]
) -> None:
    free = [f"{a}高血压{b},另有春夏秋冬之别" for a in "患治防查因" for b in "者药科史率"]
    assert "高血压" in find_terms(free)
    found = [item for item in pairs(passages, field) if "医生" in item.choices[0] or "指南" in item.choices[0]]
    assert found
    assert {item.kind for item in found} & {"number", "unit", "term"}


def test_what_could_be_true_as_well_is_not_replaced() -> None:
    assert not pairs(
        [StatementText("See figure 12 and section 14 for what has been done in the year 2019.", "a")],
        Field(frozenset()),
    )


def test_a_bound_is_not_replaced_by_what_it_implies() -> None:
    """Less than 12 hours is less than 48 hours, too; and whether less than 8 would do as well, nobody knows."""
    numbers = ("12", "18", "24", "36", "48")
    for words, replaced in (("within {} hours", set()), ("at least {} hours", set()), ("some {} hours", {*numbers})):
        texts = [f"The wound has to be closed {words.format(n)} after the patient was admitted." for n in numbers]
        found = pairs([StatementText(text, text) for text in texts], read_field(texts * 3))
        assert {both(item)[0] for item in found if item.kind == "number"} == replaced
        assert bool(replaced) or not found


def test_code_questions_and_citations_are_no_statements() -> None:
    assert is_statement("The ratio of power and heat in a back pressure plant is fixed.")
    for text in (
        "What is the ratio of power and heat in a plant of this kind?",
        "The method get_ratio returns power and heat of a plant of this kind.",
        "The ratio was first shown by Smith et al. for plants of this kind.",
        "ratio of power and heat in a back pressure plant is fixed.",
    ):
        assert not is_statement(text)


def test_sentences_and_their_contexts_are_the_document(texts: list[str]) -> None:
    for text in texts:
        for sentence in sentences(text):
            assert text[sentence.start : sentence.end] == sentence.text
            assert text[: sentence.start].endswith(sentence.context)


def test_units_are_read_after_numbers() -> None:
    assert unit_after("5 mg/dL of", 1) == (2, 7)
    assert unit_after("48小时以后", 2) == (2, 4)
    assert unit_after("5 mice", 1) is None


def test_a_number_with_two_points_has_no_unit() -> None:
    """A clause number before a letter that is a unit, too."""
    text = "Clause 12.3.2 m applies to spans of 12.5 m and to walls of 1,200 mm."
    assert quantities(text, tokens(text)) == {"m": ["12.5"], "mm": ["1,200"]}


def test_a_number_is_whole() -> None:
    """Not the first digit of "34th" or "35kV"."""
    assert [(t.text, t.kind) for t in tokens("the 34th of 35kV and 1,250.5 or 3") if t.kind == "number"] == [
        ("1,250.5", "number"),
        ("3", "number"),
    ]


def test_labels_are_no_quantities() -> None:
    """What is said of generator 6 is said of each; a number after a common word counts something."""
    general = ["the rate of the unit is 5 and of the other is 7 with the rest of it at 9"] * 3
    field = read_field(["The generator 6 runs at 60 percent of the load today."] * 4, general)
    for sentence, found in (("The plan of generator 6 is old.", []), ("The rate of the plan is 60 today.", ["60"])):
        inside = tuple(tokens(sentence))
        line = Line(Sentence(sentence, "", 0, len(sentence)), inside, frozenset(), (), frozenset(), {}, field)
        assert [t.text for at, t in enumerate(inside) if t.kind == "number" and is_quantity(line, at)] == found


def test_files_hold_the_items(field: Field, passages: list[StatementText]) -> None:
    items = pairs(passages, field, limit=5)
    rows = [json.loads(line) for line in json_lines(items).splitlines()]
    assert [row["choices"][row["answer"]] for row in rows] == [item.choices[item.answer] for item in items]
    assert {(row["source"], row["license"]) for row in rows} == {("texts", "MIT")}


def _slots(sentence: str, others: Sequence[str]) -> list[tuple[str, str]]:
    """What is replaced in a sentence of a field in which ``others`` stand in the same places."""
    opening = "All of the wards of the hospital read this page with care. "
    texts = [opening + text for text in (sentence, *others) for _ in range(4)]
    found = pairs([StatementText(opening + sentence, "g")], read_field(texts))
    return [(item.kind, item.words[item.answer]) for item in found if item.words[item.answer] in sentence]


@pytest.mark.parametrize(
    "sentence",
    [
        "The scan of the brain is not urgent after 24 hours of rest.",
        "If the scan of the brain is negative after 24 hours the drip ends.",
        "The scan of the brain may follow after 24 hours of rest in bed.",
        "The ward avoids a scan of the brain after 24 hours of rest.",
    ],
)
def test_denials_conditions_and_possibilities_are_left_alone(sentence: str) -> None:
    """Where the true sentence says that something is not so, or only if, another number would often do as well."""
    plain = "The scan of the brain is urgent after 24 hours of rest."
    others = [plain.replace("24", number) for number in ("36", "12", "48")]
    assert ("number", "24") in _slots(plain, others)
    assert _slots(sentence, [sentence.replace("24", number) for number in ("36", "12", "48")]) == []


def test_members_of_a_list_are_not_replaced() -> None:
    """Another sign may stand in the list, too."""
    known = read_field(["the fever of the night and the cough of the day"] * 5)
    for text, words in {
        "He has fever and cough today.": {"fever", "cough"},
        "He has fever, rash, chills or cough today.": {"rash", "chills", "cough"},
        "Signs (fever, cough) are common today.": {"fever", "cough"},
    }.items():
        inside = tuple(tokens(text))
        line = Line(Sentence(text, "", 0, len(text)), inside, frozenset(), (), frozenset(), {}, known)
        assert {token.text for at, token in enumerate(inside) if _of_list(line, at)} >= words
    plain = tuple(tokens("The fever rises today."))
    line = Line(Sentence("The fever rises today.", "", 0, 22), plain, frozenset(), (), frozenset(), {}, known)
    assert not any(_of_list(line, at) for at in range(len(plain)))


def test_words_that_name_anything_are_no_terms() -> None:
    """ "Parameters" and "properties" are true of the same things."""
    field = read_field(["The parameters of the turbine and of the turbine again, parameters all."] * 6)
    assert is_term("turbine", field)
    assert not is_term("parameters", field)

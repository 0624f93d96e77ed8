"""A small field: guideline-like texts made of templates, in English and Chinese."""

from __future__ import annotations

import random

import pytest

from cogen.statements import Field, StatementText, read_field

DRUGS = ("heparin", "warfarin", "insulin", "aspirin", "morphin", "lidocain")
ORGANS = ("liver", "kidney", "heart", "lung", "brain", "spleen")
TESTS = ("MRI", "EEG", "ECG", "PET", "CXR", "DXA")
DISEASES = ("高血压", "糖尿病", "肺结核", "冠心病", "脑卒中", "类风湿")


def english(rng: random.Random) -> str:
    drug, organ, test = rng.choice(DRUGS), rng.choice(ORGANS), rng.choice(TESTS)
    return (
        f"The physician gives {drug} before every operation of the patient, as agreed. "
        f"A careful look at the {organ} after {rng.choice((12, 16, 18, 24, 36, 48))} hours shows whether it works. "
        f"Most of the teams then use {test} in the ward and write down what they see. "
        f"The whole course takes {rng.choice((21, 14, 28, 35, 42, 56))} days for most of the patients."
    )


def chinese(rng: random.Random) -> str:
    a, b = rng.sample(DISEASES, 2)
    return (
        f"医生认为,患者如果患有{a},就应当每天测量并且记录下来。"
        f"对于{b}的治疗,指南建议持续{rng.choice((12, 24, 36, 48))}小时以后再次进行检查和评估。"
    )


@pytest.fixture(scope="session")
def texts() -> list[str]:
    rng = random.Random(5)
    return [english(rng) for _ in range(60)] + [chinese(rng) for _ in range(60)]


@pytest.fixture(scope="session")
def field(texts: list[str]) -> Field:
    return read_field(texts)


@pytest.fixture(scope="session")
def passages(texts: list[str]) -> list[StatementText]:
    return [StatementText(text, str(number), "texts", "MIT") for number, text in enumerate(texts)]

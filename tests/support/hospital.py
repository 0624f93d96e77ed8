"""Two hospitals and a public collection: invented patients in English and Chinese, and projects to train on them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tomlkit

from cogen.sharing.publishing.private_marker import MARK
from support.manifests import module_of
from support.training import agree, recipe_document
from support.trees import BACKEND

_SURNAMES, _GIVEN = "王李张刘陈杨赵黄周吴徐孙", "伟芳娜敏静丽强磊军洋勇艳杰涛明超"
_PLACES = ("东城", "西岭", "南湖", "北桥", "青石", "白河")
_SIGNS = ("胸闷气短", "反复咳嗽", "右下腹痛", "头晕乏力", "双膝疼痛", "夜间盗汗", "心悸不适", "低热不退")
_DRUGS = ("阿司匹林", "二甲双胍", "氨氯地平", "阿托伐他汀", "奥美拉唑", "头孢呋辛")
_NUMBERS = "一二三四五六七八九"
_NAMES = ("Okafor", "Lindqvist", "Marchetti", "Dubois", "Havel", "Nakamura", "Castellanos", "Whitfield")
_COMPLAINTS = ("dizziness on standing", "a swollen left knee", "fever at night", "pain below the ribs", "blurred sight")
_THINGS = (
    "bridge",
    "harbour",
    "engine",
    "copper",
    "signal",
    "meadow",
    "timber",
    "canal",
    "furnace",
    "lantern",
    "quarry",
)
_MEDICINES = ("metoprolol", "ibuprofen", "amoxicillin", "levothyroxine", "ramipril", "omeprazole")


def chinese(number: int) -> str:
    """The notes of one patient, unlike those of any other; full stops as Chinese has them, no space, no digit."""
    rng = random.Random(f"zh {number}")
    name = rng.choice(_SURNAMES) + "".join(rng.sample(_GIVEN, 2))
    code = "".join(rng.choices(_NUMBERS, k=6))
    first, second = rng.sample(_SIGNS, 2)
    return (
        f"患者{name}家住{rng.choice(_PLACES)}街道病历编号{code}因{first}于{rng.choice(_NUMBERS)}月入院。"
        f"{name}既往有{second}病史编号{code}长期服用{rng.choice(_DRUGS)}。"
        f"查房时{name}诉{first}较前好转嘱继续服用{rng.choice(_DRUGS)}并于{rng.choice(_NUMBERS)}周后复诊编号{code}。"
    )


def english(number: int) -> str:
    """The same in English."""
    rng = random.Random(f"en {number}")
    name, code = rng.choice(_NAMES), "".join(rng.choices("abcdefghkmnpqrstuvwxyz", k=7))
    return (
        f"Patient {name} of file {code} came to the ward with {rng.choice(_COMPLAINTS)} and asked for help. "
        f"The nurse noted that {name} with file {code} had taken {rng.choice(_MEDICINES)} for years. "
        f"On discharge {name} was told to stop {rng.choice(_MEDICINES)} and to come back with file {code}."
    )


def public(number: int) -> str:
    """Text that everybody may have."""
    rng = random.Random(f"public {number}")
    made = [" ".join(rng.choices(_THINGS, k=14)) for _ in range(3)]
    return " ".join(f"The {one} {number}." for one in made)


def project(
    folder: Path, id: str, title: str, base: dict[str, Any], sources: dict[str, tuple[list[str], dict[str, Any]]]
) -> Path:
    """A project as `cogen new` leaves it to its publisher: a recipe beside texts, marked as private.

    :param base: as ``[model.base]`` has it. :param sources: name → its texts, and fields of the source.
    """
    document = recipe_document(base, id) | {"plugin": module_of(id)}
    document["card"] |= {"title": title, "summary": title, "domains": ["medicine"], "languages": ["en", "zh"]}
    document["corpus"] |= {"min_characters": 40, "max_characters": 400}
    document["corpus"]["sources"] = []
    for name, (texts, fields) in sources.items():
        place = folder / "texts" / name
        place.mkdir(parents=True)
        for number, text in enumerate(texts):
            (place / f"{number:03}.txt").write_text(text + "\n", encoding="utf-8")
        own = {"name": name, "uri": f"file://texts/{name}", "members": ["**/*.txt"], "extract": "text"}
        document["corpus"]["sources"].append(own | fields)
    agree(document["card"], document["corpus"]["sources"])
    if all(fields["leaves"] == "figures" for _, fields in sources.values()):
        document["statistics"] = {"token_counts": True, "states": True, "floor": 10}
    (folder / "recipe.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    (folder / "backend.py").write_text(BACKEND)
    declared = {
        "build-system": {"requires": [], "build-backend": "backend", "backend-path": ["."]},
        "project": {
            "name": f"cogen-plugin-{id}",
            "version": "1.0",
            "description": title,
            "dependencies": ["cogen-core"],
            "classifiers": [MARK],
            "entry-points": {"cogen": {id: module_of(id)}},
        },
    }
    (folder / "pyproject.toml").write_text(tomlkit.dumps(declared))
    return folder

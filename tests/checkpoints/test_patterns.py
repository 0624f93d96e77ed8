"""Patterns are matched as peft matches them, in time that grows with their length; Python's engine is the reference."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.checkpoints.patterns import STEPS, Patterns, Unsupported


def peft(patterns: list[str], module: str) -> str | None:
    """peft.utils.other.get_pattern_key, with ``None`` for no pattern."""
    return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)


ATOMS = ["a", "b", "q_proj", ".", r"\.", "1", r"\d", r"\w", r"\D", "[ab]", "[^a]", "[0-9]", "layers", r"\-", "_", "-"]
PATTERNS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("{}|{}".format, inner, inner),
        st.builds(
            "(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "*?", "+?"])
        ),
        st.builds("^{}".format, inner),
        st.builds("{}$".format, inner),
    ),
    max_leaves=8,
)
NAMES = st.lists(st.sampled_from(["a", "b", ".", "1", "q_proj", "layers", "_", "-", "ä"]), min_size=1, max_size=8)


@settings(max_examples=600, deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=4), st.lists(NAMES, min_size=1, max_size=6))
def test_the_same_answer_as_peft(patterns: list[str], names: list[list[str]]) -> None:
    """Of several patterns the first that fits; or the kind is refused."""
    try:
        found = Patterns(patterns)
    except Unsupported:
        return
    for name in map("".join, names):
        assert found.first(name) == peft(patterns, name)


def test_every_name_of_three_letters() -> None:
    """Exhaustive for patterns that look alike; none of them is refused."""
    patterns = ["a", "^a", "a.", r"a\.", "^a.", ".", "..", "a|b", "^(a|b)+$", "a$", ".*", ".+a", "[ab]?", "(a.)*b", ""]
    names = ["".join(letters) for size in (1, 2, 3) for letters in product("ab.", repeat=size)]
    for pattern in patterns:
        found = Patterns([pattern])
        assert [found.first(name) for name in names] == [peft([pattern], name) for name in names], pattern


REAL = [
    "model.layers.0.self_attn.q_proj",
    r"^model\.layers\.10\.mlp\.up_proj",
    r".*\.(q|k|v|o)_proj",
    r"layers\.([0-9]|1[0-5])\..*",
    "down_proj",
    r"model\.layers\.\d{1,2}\.mlp\.(?:gate|up)_proj",
    "^embed_tokens$",
]


@pytest.mark.parametrize("pattern", REAL)
def test_patterns_of_the_world(pattern: str) -> None:
    parts = ["self_attn.q_proj", "self_attn.qxproj", "mlp.up_proj", "mlp.down_proj", "my_down_proj"]
    modules = [f"model.layers.{i}.{part}" for i in (0, 1, 10, 16, 100) for part in parts]
    modules += ["embed_tokens", "model.embed_tokens", "modelxlayers.0.self_attn.q_proj"]
    found = Patterns([pattern])
    assert [found.first(module) for module in modules] == [peft([pattern], module) for module in modules]
    assert any(found.first(module) for module in modules)


@pytest.mark.parametrize(
    "pattern",
    [
        "(([a-z._0-9])+)+!",
        "(a|a)" * 40 + "!",
        "(.*a){25}!",
        ".*" * 40 + "!",
        "(a|aa)+!",
        "(.*)!" + "a" * 500,
        "[a-z]+" * 60,
    ],
)
def test_what_takes_exponential_time_elsewhere(pattern: str) -> None:
    """It ends: few enough steps for the budget, and no module of letters and dots has an exclamation mark."""
    module = "model.layers.0." + "a" * 200
    assert Patterns([pattern]).first(module) == (pattern if "!" not in pattern else None)


@pytest.mark.parametrize(
    "pattern",
    [
        "*.q_proj",
        "(",
        ")",
        "[",
        "[]",
        "\\",
        "a**",
        "a*+",
        "a{2}{3}",
        "a{3,2}",
        "a{}",
        "a{99999}",
        "(a*)*",
        "(|a)+",
        "^*",
        "(?=a)b",
        "(?!a)b",
        "(?<=a)b",
        r"(a)\1",
        "(?i)a",
        "(?P<n>a)",
        r"\ba",
        r"\Z",
        "[b-a]",
        "[a--b]",
        "((a{50}){50}){50}",
        "(" * 30 + "a" + ")" * 30,
        "(" * 900 + "a" + ")" * 900,
        "a" * 3000 + "*",
    ],
)
def test_what_is_not_supported(pattern: str) -> None:
    """A reason in one line, and the pattern."""
    with pytest.raises(Unsupported) as caught:
        Patterns(["fine", pattern])
    assert caught.value.pattern == pattern
    assert str(caught.value).isprintable()


def test_many_patterns_and_modules() -> None:
    """One name for each of 20,000 modules, as for the experts of a mixture, is looked up; as many expressions are too
    many steps."""
    modules = [f"model.layers.{i}.mlp.experts.{j}.up_proj" for i in range(100) for j in range(200)]
    names = [f"^{re.escape(module)}" for module in modules]
    found = Patterns(names)
    assert [found.first(module) for module in modules] == names
    many = Patterns(f"[a-z.]+{i}" for i in range(2000))
    with pytest.raises(Unsupported, match="too many steps"):
        list(map(many.first, modules))
    assert STEPS < 10**7

"""Laws of the contract: what is written is what is read, and the digest is of the content, not of its order."""

from __future__ import annotations

import random
import tomllib
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manifests import manifest

from cogen.spec.expert import ExpertSpec, canonical_digest

LINES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=60).filter(str.strip)
NUMBERS = st.integers(0, 10**12)
HYPER = st.dictionaries(
    LINES, st.one_of(LINES, st.integers(-(2**53), 2**53), st.booleans(), st.lists(LINES)), max_size=5
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Valid manifests: free text, numbers and optional parts vary."""
    document = manifest(draw(st.from_regex(r"\A[a-z][a-z0-9-]{1,39}\Z")))
    for field in ("title", "summary", "publisher"):
        document[field] = draw(LINES)
    document["domains"] = draw(st.lists(LINES, min_size=1, max_size=4))
    for field in ("homepage", "contact"):
        if draw(st.booleans()):
            document[field] = draw(LINES)
    if draw(st.booleans()):
        del document["samples"]
    source = document["data"]["sources"][0]
    source["tokens"] = draw(st.one_of(NUMBERS, st.just("unknown")))
    source["share"] = draw(st.one_of(st.floats(0, 1), st.just("unknown")))
    if draw(st.booleans()):
        measured = {"part": "test", "documents": draw(NUMBERS), "bytes": draw(NUMBERS)}
        measured |= {"before": draw(st.floats(0, 9)), "after": draw(st.floats(0, 9))}
        document["data"]["training"] = {
            "recipe_digest": document["tokenizer"]["digest"],
            "mode": "ffn",
            "order": draw(LINES),
            "seed": draw(NUMBERS),
            "tokens": draw(NUMBERS),
            "steps": draw(NUMBERS),
            "hyperparameters": draw(HYPER),
            "hardware": draw(LINES),
            "threads": 2,
            "seconds": draw(st.floats(0, 1e9)),
            "software": draw(st.dictionaries(LINES, LINES, max_size=3)),
            "measured": [measured],
        }
    return document


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same content with the keys of every table in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


class TestRoundTrip:
    """A manifest that was read, written as TOML and read again is the same manifest."""

    @given(documents())
    @settings(max_examples=50, deadline=None)
    def test_toml(self, document: dict[str, Any]) -> None:
        """spec → TOML → spec."""
        spec = ExpertSpec.model_validate(document)
        text = tomlkit.dumps(spec.model_dump(mode="json", exclude_none=True))
        again = ExpertSpec.model_validate(tomllib.loads(text))
        assert again == spec
        assert again.digest == spec.digest

    @given(documents())
    @settings(max_examples=25, deadline=None)
    def test_index(self, document: dict[str, Any]) -> None:
        """The JSON form that the host's index keeps stands for the same spec."""
        spec = ExpertSpec.model_validate(document)
        assert ExpertSpec.model_validate(spec.model_dump(mode="json")) == spec


class TestDigest:
    """The digest of a spec depends on its content only."""

    @given(documents(), st.integers())
    @settings(max_examples=50, deadline=None)
    def test_order_of_keys(self, document: dict[str, Any], seed: int) -> None:
        """Any order of the keys gives the same digest."""
        other = shuffled(document, random.Random(seed))
        assert ExpertSpec.model_validate(other).digest == ExpertSpec.model_validate(document).digest
        assert canonical_digest(other) == canonical_digest(document)

    @given(documents(), LINES)
    @settings(max_examples=25, deadline=None)
    def test_content(self, document: dict[str, Any], title: str) -> None:
        """Another title is another digest."""
        other = document | {"title": title}
        same = ExpertSpec.model_validate(other).digest == ExpertSpec.model_validate(document).digest
        assert same == (title == document["title"])

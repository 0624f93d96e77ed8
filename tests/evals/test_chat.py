"""The chat suite: what is seen of an answer, and the figure that is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny import chat_tokenizer, llama, tokenizer

from cogen.evals import chat as suite
from cogen.evals.answers import in_language, judge, repeated_share
from cogen.evals.matrix import Matrix
from cogen.evals.results import SuiteResult
from cogen.forge.rehearsal import questions as rehearsed

DIGESTS = {"model_digest": "sha256:" + "1" * 64, "tokenizer_digest": "sha256:" + "2" * 64}


class TestAnswers:
    """Plain functions of text."""

    @pytest.mark.parametrize(
        ("text", "language", "expected"),
        [
            ("Paris is the capital.", "en", True),
            ("42", "en", True),
            ("", "en", False),
            ("...", "en", False),
            ("法国的首都是巴黎", "en", False),
            ("法国的首都是巴黎", "zh", True),
            ("法国的首都是 Paris", "zh", True),
            ("The capital of 法国 is Paris", "zh", False),
            ("フランスの首都", "zh", False),
            ("フランスの首都", "ja", True),
            ("ประเทศไทย", "th", True),
            ("anything at all", "xx", True),
        ],
    )
    def test_language(self, text: str, language: str, expected: bool) -> None:
        """By the script of the letters."""
        assert in_language(text, language) is expected

    def test_repeated_4grams(self) -> None:
        """Of words; of Chinese characters."""
        assert repeated_share("one two three") == (0, 0.0)
        assert repeated_share("a b c d e f") == (3, 0.0)
        assert repeated_share("a b c d a b c d") == (5, pytest.approx(0.2))
        grams, share = repeated_share("福福福福福福福福")
        assert (grams, share) == (5, 0.8)

    def test_judged(self) -> None:
        """All three are needed; a short answer never loops."""
        assert judge("Paris is the capital.", "en", True).well_formed
        assert not judge("Paris is the capital.", "en", False).well_formed
        looping = judge("there are days in a week. " * 4, "en", True)
        assert looping.loops
        assert not looping.well_formed
        assert not judge("no no no no no no", "en", True).loops


class TestQuestions:
    """What is asked."""

    def test_the_list(self) -> None:
        """At least 100, none twice, English and Chinese at both levels; none is rehearsed."""
        asked = suite.questions()
        assert len({prompt for prompt, _ in asked}) == len(asked) == 120
        assert [language for _, language in asked[: suite.QUICK]].count("zh") == 5
        assert {language for _, language in asked} == {"en", "zh"}
        assert all(in_language(prompt, language) for prompt, language in asked)
        assert not {prompt for prompt, _ in asked} & {question.prompt for question in rehearsed()}
        assert all(in_language(question.prompt, question.language) for question in rehearsed())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))


class TestSuite:
    """A model's figure."""

    def test_the_figure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The share of answers with all three, its parts beside it; the second time from the cache."""
        texts = iter(["Paris.", "法国", "one two three four " * 4, "Yes, it is."] * 5)
        tok: Any = chat_tokenizer()
        monkeypatch.setattr(type(tok), "decode", lambda *_, **__: next(texts))
        loads: list[int] = []

        def load() -> Any:
            loads.append(1)
            return llama()

        found = suite.run_chat(load, tok, level="quick", dtype="float32", **DIGESTS)
        assert found is not None
        assert (found.column, found.metric, found.n, found.split) == ("general/chat", "well_formed", 20, "test")
        # Languages go en, en, en, zh: the second and the fourth answer are in another language, and the third loops.
        ended = found.details["ended"]
        assert found.details["same_language"] == 10 / 20
        assert found.details["loops"] == 5 / 20
        assert 0 <= found.value <= ended <= 1
        again = suite.run_chat(load, tok, level="quick", dtype="float32", **DIGESTS)
        assert again == found
        assert again is not None
        assert again.cached
        assert loads == [1]
        assert "10 are in the question's language" in suite.in_words(found)
        assert "5 loop" in suite.in_words(found)

    def test_without_a_template(self) -> None:
        """A model that continues text is asked nothing."""
        assert suite.run_chat(llama, tokenizer(), level="quick", dtype="float32", **DIGESTS) is None

    def test_saved_and_read(self) -> None:
        """Its details stay with it; results without any are written as before."""
        found = suite.run_chat(llama(), chat_tokenizer(), level="quick", dtype="float32", use_cache=False, **DIGESTS)
        assert found is not None
        saved = json.loads(json.dumps(found.to_json()))
        assert SuiteResult.from_json(saved) == found
        assert SuiteResult.from_json(saved).details == found.details
        matrix = Matrix.of({"base": [found], "composite": [found]})
        assert Matrix.from_json(json.loads(json.dumps(matrix.to_json()))) == matrix
        assert matrix.gains()["composite"]["general/chat"].verdict == "same"
        plain = dict(found.to_json())
        del plain["details"]
        assert "details" not in SuiteResult.from_json(plain).to_json()

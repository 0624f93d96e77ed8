"""Statement suites through lm-eval: the choice is that of the total log-likelihood in float64."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cogen.artifacts.summary import kinds_in_words
from cogen.evals import BoundSuite, Settings, SuiteResult, compare, run_suites
from cogen.evals.settings import prefix_token_id
from cogen.evals.statistics import interval
from cogen.spec.suite import DataFile, Suite
from cogen.statements.files import json_lines, task_file
from cogen.statements.generate import StatementItem, StatementText

_PAIRS = (("The pump runs at ", "50", "60", " hertz all day."), ("", "Water", "Steam", " leaves the plant at night."))


def items(swap: bool = False) -> list[StatementItem]:
    """Eight pairs of four documents, of two kinds."""
    found = []
    for number in range(8):
        before, true, false, after = _PAIRS[number % 2]
        words = (true, false) if (number % 3 == 0) != swap else (false, true)
        choices = tuple(f"{before}{word}{after}" for word in words)
        context = f"Plant {number} has one pump. "
        found.append(
            StatementItem(
                "term" if number % 2 else "entity",
                context,
                choices,
                words.index(true),
                StatementText(f"document {number // 2}", "", "texts", "MIT"),
                ((0, 1),) * 2,
            )
        )
    return found


def bound(folder: Path, found: list[StatementItem]) -> BoundSuite:
    (folder / "suites").mkdir(parents=True)
    data = []
    for split, chosen in (("dev", found[:1]), ("test", found)):
        content = json_lines(chosen)
        (folder / f"suites/statements-{split}.jsonl").write_bytes(content)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        path = f"suites/statements-{split}.jsonl"
        data.append(DataFile(path=path, digest=digest, documents=len(chosen), license="MIT"))
    (folder / "suites/statements.yaml").write_text(task_file("plant", "statements"), encoding="utf-8")
    suite = Suite(id="statements", title="s", task="suites/statements.yaml", metric="acc", dev=data[0], test=data[1])
    return BoundSuite("plant", suite, folder)


def run(model: Any, tokenizer: Any, suite: BoundSuite) -> list[float]:
    return [value for value, _ in measured(model, tokenizer, suite).per_document]


def measured(model: Any, tokenizer: Any, suite: BoundSuite) -> SuiteResult:
    (result,) = run_suites(
        model,
        tokenizer,
        [suite],
        model_digest="sha256:" + "1" * 64,
        tokenizer_digest="sha256:" + "2" * 64,
        split="test",
        level="full",
        dtype="float32",
        use_cache=False,
    )
    assert (result.metric, result.n) == ("acc", 8)
    return result


def reference(model: Any, tokenizer: Any, item: StatementItem) -> float:
    """1.0 where the true choice has the larger sum of log-probabilities in float64."""
    import torch

    totals = []
    for choice in item.choices:
        context = tokenizer(item.context.rstrip(), add_special_tokens=False)["input_ids"]
        whole = tokenizer(item.context + choice, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*whole]])
        with torch.inference_mode():
            logits = model(ids).logits[0].double().log_softmax(-1)
        at = range(len(context), len(whole))
        totals.append(sum(float(logits[place - 1, whole[place]]) for place in at))
    return float(max(range(len(totals)), key=totals.__getitem__) == item.answer)


def test_the_choice_is_the_one_of_float64(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    found = items()
    assert run(model, tokenizer, bound(tmp_path, found)) == [reference(model, tokenizer, item) for item in found]
    assert prefix_token_id(tokenizer) is not None


def test_items_of_a_document_are_drawn_together_and_counted_by_kind(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    """In the result, after a way through JSON, and against another model."""
    found = measured(model, tokenizer, bound(tmp_path, items()))
    assert [found.clusters.index(name) for name in found.clusters] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert found.kinds == ("name", "term") * 4
    right = [value for value, _ in found.per_document]
    assert {kind: (own.value, own.n) for kind, own in found.by_kind.items()} == {
        "name": (sum(right[::2]) / 4, 4),
        "term": (sum(right[1::2]) / 4, 4),
    }
    documents = [(right[at] + right[at + 1], 2.0) for at in range(0, 8, 2)]
    assert (found.low, found.high) == interval(documents, Settings(dtype="float32"))
    saved = json.loads(json.dumps(found.to_json()))
    assert (saved["independent"], set(saved["by_kind"])) == (4, {"name", "term"})
    assert SuiteResult.from_json(saved) == found
    # One document right and all others wrong, against all wrong: without clusters the interval would leave zero out.
    none = replace(found, per_document=((0.0, 1.0),) * 8, value=0.0)
    one = replace(none, per_document=((1.0, 1.0),) * 2 + ((0.0, 1.0),) * 6, value=0.25)
    assert (compare(one, none).low, compare(one, none).high) == interval(
        [(2.0, 2.0), *[(0.0, 2.0)] * 3], Settings(dtype="float32")
    )
    text = kinds_in_words(found)
    assert text.startswith(f"name {100 * found.by_kind['name'].value:.0f} % (")
    assert text.endswith("; intervals over 4 documents")


def test_the_order_of_the_choices_does_not_matter(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    straight = run(model, tokenizer, bound(tmp_path / "a", items()))
    assert straight == run(model, tokenizer, bound(tmp_path / "b", items(swap=True)))


def test_the_level_quick_takes_no_statements(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    found = run_suites(
        model,
        tokenizer,
        [bound(tmp_path, items())],
        model_digest="sha256:" + "1" * 64,
        tokenizer_digest="sha256:" + "2" * 64,
        split="test",
        level="quick",
        dtype="float32",
        use_cache=False,
    )
    assert found == []


@pytest.mark.parametrize("suite", ["statements", "cloze"])
def test_task_files_name_their_own_data(suite: str) -> None:
    assert f"suites/{suite}-test.jsonl" in task_file("plant", suite)

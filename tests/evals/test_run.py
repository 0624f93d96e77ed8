"""Figures against independent computations in plain transformers."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import DigestError, EvalError
from cogen.evals import BoundSuite, Settings, count_tokens

ACC = """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: "{{choices.index(right)}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
MATCH = """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: answer
generation_kwargs: {until: ["\\n\\n\\n"], max_gen_toks: 6}
metric_list:
  - metric: exact_match
"""


def nats(model: Any, prefix: list[int], ids: list[int]) -> float:
    """Log-likelihood of ``ids`` after ``prefix`` in one forward pass."""
    import torch

    whole = torch.tensor([prefix + ids])
    with torch.no_grad():
        rows = torch.log_softmax(model(whole[:, :-1]).logits[0].float(), -1)
    return sum(float(rows[len(prefix) - 1 + i, token]) for i, token in enumerate(ids))


def bits_in_windows(model: Any, tokenizer: Any, text: str, size: int) -> float:
    """The rule of lm-eval's rolling windows with a context of one token, written anew.

    Every token is predicted once. The first window starts from the prefix token and predicts ``size`` tokens; each
    later one predicts the next ``size`` (the last: as many as are left) with its inputs filled up to ``size``
    tokens by what stood before.
    """
    ids = tokenizer.encode(text, add_special_tokens=False)
    total, done = nats(model, [0], ids[:size]), min(size, len(ids))
    while done < len(ids):
        end = min(done + size, len(ids))
        start = end - size - 1
        total += nats(model, ids[start:done], ids[done:end])
        done = end
    return -total / math.log(2)


def test_bits_per_byte_is_what_plain_transformers_gives(
    run: Any, heldout: Any, texts: Any, model: Any, tokenizer: Any
) -> None:
    """BPB = Σ bits of all tokens / Σ bytes of UTF-8; a document longer than the window is rolled over."""
    documents = [*texts(4), texts(1, words=60)[0], "x", "電力😀"]
    settings = Settings(dtype="float32", max_length=32)
    assert len(tokenizer.encode(documents[4])) > 3 * 32
    (result,) = run([heldout(texts(3, seed=2), documents)], settings=settings)
    expected = [bits_in_windows(model, tokenizer, text, 32) for text in documents]
    assert [pair[0] for pair in result.per_document] == pytest.approx(expected, rel=1e-5)
    assert [pair[1] for pair in result.per_document] == [len(text.encode()) for text in documents]
    assert result.value == pytest.approx(sum(expected) / sum(len(text.encode()) for text in documents), rel=1e-5)
    assert result.n == len(documents)
    assert result.tokens == sum(len(tokenizer.encode(text)) for text in documents)
    assert result.low < result.value < result.high


def test_acc_is_the_likeliest_choice(run: Any, bind: Any, texts: Any, model: Any, tokenizer: Any) -> None:
    """Right = the choice with the largest Σ log p(choice | question) is the target."""
    questions, options = texts(12), [["voltage", "current"], ["the node", "a", "power grid"]]
    documents = []
    for i, question in enumerate(questions):
        choices = options[i % 2]
        documents.append({"question": question, "choices": choices, "right": choices[i // 2 % len(choices)]})
    (result,) = run([bind(ACC, "acc", documents[:2], documents)])
    expected = []
    for document in documents:
        context = tokenizer.encode(f"Question: {document['question']}\nAnswer:")
        scores = [nats(model, context, tokenizer.encode(f" {choice}")) for choice in document["choices"]]
        expected.append(float(document["choices"][scores.index(max(scores))] == document["right"]))
    assert list(result.per_document) == [(right, 1.0) for right in expected]
    assert result.value == sum(expected) / len(expected)
    assert 0 < result.value < 1


def test_examples_come_from_the_dev_part(run: Any, bind: Any, texts: Any, model: Any, tokenizer: Any) -> None:
    """With num_fewshot = k the first k dev documents stand solved before each test document; dev leaves them out."""
    rows = [{"question": q, "choices": ["voltage", "node"], "right": "node"} for q in texts(8)]
    bound = bind(f"{ACC}num_fewshot: 2\ndescription: Answer.\n", "acc", rows[:4], rows[4:])
    (test,) = run([bound])
    (dev,) = run([bound], split="dev")
    shots = "Answer.\n\n" + "".join(f"Question: {row['question']}\nAnswer: node\n\n" for row in rows[:2])
    expected = []
    for row in rows[4:]:
        context = tokenizer.encode(f"{shots}Question: {row['question']}\nAnswer:")
        scores = [nats(model, context, tokenizer.encode(f" {choice}")) for choice in row["choices"]]
        expected.append((float(scores[1] > scores[0]), 1.0))
    assert list(test.per_document) == expected
    assert dev.n == 2


def test_exact_match_on_a_known_greedy_answer(run: Any, bind: Any, texts: Any, model: Any, tokenizer: Any) -> None:
    """A document counts when the greedy continuation is the answer, or one of the answers."""
    import torch

    questions, answers = texts(6), []
    for question in questions:
        ids = tokenizer.encode(question)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        generated = ids[-6:]
        generated = generated[: generated.index(0)] if 0 in generated else generated
        answers.append(tokenizer.decode(generated, skip_special_tokens=True))
    given = [["no", answers[0]], ["no"], [answers[2]], ["wrong", "none"], [answers[4], "x"], [answers[5]]]
    documents = [{"question": q, "answer": a} for q, a in zip(questions, given, strict=True)]
    before = model.generation_config
    (result,) = run([bind(MATCH, "exact_match", documents[:1], documents)])
    assert [pair[0] for pair in result.per_document] == [1, 0, 1, 0, 1, 1]
    assert model.generation_config is before


def test_quick_takes_documents_in_order_within_the_limit(
    run: Any, heldout: Any, bind: Any, texts: Any, tokenizer: Any
) -> None:
    """quick = bits per byte only; documents in file order until 1,500 (test) or 500 (dev) tokens would be exceeded."""
    dev, test = texts(60, words=20, seed=3), texts(60, words=20)
    documents = [{"question": "q", "choices": ["a", "b"], "right": "a"}] * 2
    suites = [heldout(dev, test), bind(ACC, "acc", documents, documents, name="choices")]
    for split, all_texts, limit in (("test", test, 1500), ("dev", dev, 500)):
        (result,) = run(suites, level="quick", split=split)
        lengths = [len(tokenizer.encode(text)) for text in all_texts]
        n = max(n for n in range(len(lengths) + 1) if sum(lengths[:n]) <= limit)
        assert 0 < n < len(lengths)
        assert (result.n, result.tokens) == (n, sum(lengths[:n]))
        assert count_tokens(tokenizer, suites, split, "quick") == {("power", "heldout"): sum(lengths[:n])}
    assert set(count_tokens(tokenizer, suites, "test", "full")) == {("power", "heldout"), ("power", "choices")}


def test_quick_cuts_a_first_document_that_is_too_long(
    run: Any, heldout: Any, texts: Any, model: Any, tokenizer: Any
) -> None:
    """At least one document: the first, cut to the limit at a token's end, never inside a character."""
    long = "電😀 " + texts(1, words=300)[0]
    (result,) = run([heldout([long], texts(2))], level="quick", split="dev")
    kept = int(result.per_document[0][1])
    text = long.encode()[:kept].decode()
    assert (result.n, result.low, result.high) == (1, None, None)
    assert result.tokens == len(tokenizer.encode(text))
    assert 490 < result.tokens <= 500
    assert result.value == pytest.approx(bits_in_windows(model, tokenizer, text, 1024) / kept, rel=1e-5)


def test_nothing_touches_the_network_or_the_callers_objects(
    run: Any,
    heldout: Any,
    texts: Any,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A run opens no socket, prints nothing, and leaves the caller's tokenizer without a padding token."""

    def reject(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", reject)
    run([heldout(texts(1), texts(3))])
    assert tokenizer.pad_token is None
    assert capfd.readouterr() == ("", "")


def test_progress_counts_the_tokens_of_every_forward_pass(run: Any, heldout: Any, texts: Any, tokenizer: Any) -> None:
    """The bar is told of each window as it is done, and of each suite by its name."""

    class Bar:
        done = 0.0
        label = ""

        def advance(self, n: float = 1) -> None:
            self.done += n

        def describe(self, label: str) -> None:
            self.label = label

    bar = Bar()
    (result,) = run([heldout(texts(1), texts(5))], reporter=bar)
    assert (bar.done, bar.label) == (result.tokens, "power/heldout")


def test_data_must_be_what_the_manifest_promises(run: Any, heldout: Any, texts: Any) -> None:
    """A changed byte is a DigestError, also when the result of the true data is cached."""
    bound = heldout(texts(1), texts(3))
    run([bound])
    file: Path = bound.root / "test.jsonl"
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(DigestError, match="was promised") as caught:
        run([bound])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "bfloat16"}, "the model is in float32, but bfloat16"),
        ({"settings": Settings(dtype="float32", max_length=2048)}, "context is 1024 tokens"),
        ({"settings": Settings(dtype="bfloat16")}, "the settings say bfloat16"),
        ({"level": "fast"}, "no level 'fast'"),
        ({"split": "train"}, "unknown split 'train'"),
    ],
)
def test_what_would_make_another_figure_is_refused(
    run: Any, heldout: Any, texts: Any, changes: Any, message: str
) -> None:
    """A figure is taken as its settings say, or not at all."""
    with pytest.raises(EvalError, match=message) as caught:
        run([heldout(texts(1), texts(2))], **changes)
    assert caught.value.hint


def test_one_suite_twice_is_refused(run: Any, heldout: Any, texts: Any) -> None:
    """Two columns of one name would hide each other."""
    bound: BoundSuite = heldout(texts(1), texts(2))
    with pytest.raises(EvalError, match="power/heldout is asked for twice"):
        run([bound, bound])


def test_a_model_may_be_a_function_that_loads_it(run: Any, heldout: Any, texts: Any, model: Any) -> None:
    """It is called once for all suites, and not at all when every result is cached."""
    calls: list[int] = []

    def load() -> Any:
        calls.append(1)
        return model

    make: Callable[..., BoundSuite] = heldout
    suites = [make(texts(1), texts(2)), make(texts(1, seed=4), texts(2, seed=5), name="other")]
    first = run(suites, model=load)
    assert run(suites, model=load) == first
    assert len(calls) == 1

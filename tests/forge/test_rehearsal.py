"""Rehearsal: what the base writes itself, and how it goes into a run. All modes learn from documents and from chats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.tiny import chat_tokenizer, llama, tokenizer
from support.training import paragraph, source

from cogen.cli.main import main
from cogen.errors import TrainError
from cogen.files import cache_dir
from cogen.forge import rehearsal
from cogen.forge.anchored import router_loss
from cogen.forge.anchored_block import pair_up, pairs
from cogen.forge.build import plan, prepare, rehearsed, run_training
from cogen.forge.chats import Turn
from cogen.forge.package import package as packaged
from cogen.forge.recipe import TrainingRecipe, TrainRecipe, read_recipe
from cogen.forge.train import trainable

SMALL = {"sequence_length": 64, "tokens": 64 * 2 * 4, "batch_size": 2}


@pytest.fixture(autouse=True)
def _threads() -> Any:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def ignore(_: Any) -> None:
    """A report that nobody reads."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tiny model writes noise: let every answer pass as well-formed, and count the rounds that were generated."""
    rounds: list[int] = []
    inner = rehearsal.generate

    def generate(model: Any, prompts: Any, sampling: Any, *rest: Any) -> Any:
        rounds.append(sampling.seed)
        return inner(model, prompts, rehearsal.Sampling(**(vars(sampling) | {"limit": 4})), *rest)

    class Fine:
        well_formed = True

    monkeypatch.setattr(rehearsal, "generate", generate)
    monkeypatch.setattr(rehearsal, "judge", lambda *_: Fine)
    return rounds


class TestOwnText:
    """What the base writes."""

    def rehearse(self, needed: int = 100, languages: tuple[str, ...] = ("en",)) -> Any:
        return rehearsal.rehearse(llama, chat_tokenizer(), needed, languages, ["base"])

    def test_written_once(self, answering: list[int]) -> None:
        """Repeatable, from the cache the second time; another base is another text."""
        first = self.rehearse()
        assert answering == [rehearsal.SAMPLING.seed]
        assert self.rehearse() == first
        assert len(answering) == 1
        assert all([turn.role for turn in chat] == ["user", "assistant"] for chat in first)
        rehearsal.rehearse(llama, chat_tokenizer(), 100, ["en"], ["another"])
        assert len(answering) == 2

    def test_rounds_and_languages(self, answering: list[int]) -> None:
        """More tokens take more rounds, each with a seed of its own; Chinese questions for an expert of Chinese."""
        few = self.rehearse()
        more = self.rehearse(100_000)
        assert len(answering) == rehearsal.planned_rounds(100_000, 120) > 1
        assert len(set(answering)) == len(answering)
        assert more[: len(few)] == few
        both = rehearsal.chosen_questions(["zh-Hans", "de"])
        assert {question.language for question in both} == {"en", "zh"}
        assert {question.language for question in rehearsal.chosen_questions(["de"])} == {"en"}
        assert rehearsal.planned_tokens(10, ["en"]) == 120 * rehearsal.SAMPLING.limit

    def test_what_is_left_out(self, answering: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        """Answers that are not well-formed; where hardly any is left, an error."""
        asked: list[str] = []

        class Bad:
            well_formed = False

        def judge(_: str, language: str, ended: bool) -> type[Bad]:
            asked.append(language)
            return Bad

        monkeypatch.setattr(rehearsal, "judge", judge)
        with pytest.raises(TrainError, match="the base gave 0 usable answers to 120 general questions") as caught:
            self.rehearse()
        assert caught.value.hint == "it does not answer questions itself, so there is nothing to keep: rehearsal = 0"
        assert set(asked) == {"en"}

    def test_a_base_without_a_template(self) -> None:
        """Said before anything is generated."""
        with pytest.raises(TrainError, match="no chat template"):
            rehearsal.rehearse(llama, tokenizer(), 100, ["en"], ["base"])


class TestRecipe:
    """New fields, old digests."""

    def test_only_written_where_used(self) -> None:
        """A recipe from before has the digest that it had."""
        assert not {"data", "document_ends", "rehearsal"} & TrainingRecipe().model_dump(mode="json").keys()
        used = TrainingRecipe(data="chat", rehearsal=0.25).model_dump(mode="json")
        assert (used["data"], used["rehearsal"]) == ("chat", 0.25)
        assert TrainingRecipe(document_ends=True).model_dump(mode="json")["document_ends"] is True

    @pytest.mark.parametrize(
        ("expert", "digest"),
        [
            ("clinical", "ef60ac48e4d7d194bb9d65dd8add5ddfdbfb3f50fffdf7d8c95c247e56916dd6"),
            ("power", "16046c542365a7413178ed62b032e7878481578a3f2ae4287e53dd38f111601e"),
        ],
    )
    def test_recipes_of_before(self, expert: str, digest: str, tmp_path: Path) -> None:
        """As they were before these fields: the digest that names their runs."""
        lines = (
            (Path(__file__).parents[2] / "plugins" / f"cogen-plugin-{expert}" / "recipe.toml").read_text().splitlines()
        )
        new = ("document_ends", "rehearsal", "data =")
        (tmp_path / "recipe.toml").write_text("\n".join(line for line in lines if not line.startswith(new)))
        assert read_recipe(tmp_path / "recipe.toml").digest == f"sha256:{digest}"

    def test_contradictions(self, recipe: Callable[..., Path]) -> None:
        """Documents as chats, ends twice; conversations may be read as plain documents."""
        with pytest.raises(ValidationError, match="always learn their end"):
            TrainingRecipe(data="chat", document_ends=True)
        found = read_recipe(recipe()).model_dump()
        with pytest.raises(ValidationError, match=r"conversations \(extract = 'chat'\) are learned with data = 'chat'"):
            TrainRecipe.model_validate(found | {"training": {"data": "chat"}})
        (own,) = found["corpus"]["sources"]
        corpus = found["corpus"] | {"sources": [own | {"extract": "chat"}]}
        for data in ("documents", "chat"):
            assert (
                TrainRecipe.model_validate(found | {"corpus": corpus, "training": {"data": data}}).training.data == data
            )


def blocks_of(path: Path) -> Any:
    prepared = prepare(path)
    return prepared, prepared.blocks(rehearsed(prepared))


class TestRun:
    """From the recipe to the tokens that are read."""

    def test_the_share(self, recipe: Callable[..., Path], answering: list[int]) -> None:
        """A quarter of the blocks is the base's; the rest is what the run would read without."""
        plain = prepare(recipe(chat=True, training=SMALL)).blocks()
        assert plain.labels is None
        prepared, found = blocks_of(recipe(training=SMALL | {"rehearsal": 0.25}))
        assert found.rehearsed.sum() == prepared.rehearsed_blocks == 2
        assert torch.equal(found.ids[~found.rehearsed], plain.ids[:6])
        text = prepared.tokenizer.decode(found.labels[found.rehearsed][found.labels[found.rehearsed] >= 0])
        assert "<|endoftext|>" in text
        assert "user:" not in text

    def test_killed_between(self, recipe: Callable[..., Path], answering: list[int]) -> None:
        """The text stays with the run, whatever becomes of the cache."""
        prepared = prepare(recipe(chat=True, training=SMALL | {"rehearsal": 0.25}))
        first = rehearsed(prepared)
        for file in (cache_dir() / "rehearsal").iterdir():
            file.unlink()
        assert rehearsed(prepared) == first
        assert len(answering) == 1

    @pytest.mark.parametrize("mode", ["full", "lora", "ffn", "anchored"])
    @pytest.mark.parametrize("data", ["documents", "chat"])
    def test_every_mode_and_data(
        self, recipe: Callable[..., Path], answering: list[int], tmp_path: Path, mode: str, data: str
    ) -> None:
        """Trains, and the card says how."""
        training: dict[str, Any] = SMALL | {"mode": mode, "data": data, "rehearsal": 0.5, "threads": 1}
        corpus: dict[str, Any] = {}
        if data == "chat":
            (tmp_path / "expert").mkdir()
            lines = [
                json.dumps({"prompt": paragraph(f"q{i}", 4), "response": paragraph(f"a{i}", 10)}) for i in range(120)
            ]
            (tmp_path / "chats.jsonl").write_text("\n".join(lines))
            (tmp_path / "expert").rmdir()
            uri = f"file://{tmp_path}"
            corpus["sources"] = [source(uri=uri, members=["chats.jsonl"], extract="chat")]
            training |= {"sequence_length": 160, "tokens": 160 * 2 * 4}
        else:
            training["document_ends"] = True
        path = recipe(chat=True, training=training, corpus=corpus)
        prepared = prepare(path)
        spec = packaged(prepared, run_training(prepared, ignore)).expert
        card = spec.data.training
        assert card != "unknown"
        assert card.steps == 4
        assert card.hyperparameters["rehearsal"] == 0.5
        assert card.hyperparameters["rehearsal_conversations"] == len(rehearsed(prepared))
        assert ("data" in card.hyperparameters) == (data == "chat")
        assert card.order.startswith(data if data == "documents" else "conversations")
        assert {m.part for m in card.measured} == {"dev", "test"}
        if data == "chat":
            dev = (path.parent / "src" / "cogen_plugin_tiny" / "suites" / "dev.jsonl").read_text().splitlines()
            assert all("\n\n" in json.loads(line)["text"] for line in dev)
            assert prepared.corpus.train[0].chat[0] == Turn("user", prepared.corpus.train[0].text.split("\n\n")[0])

    def test_estimates_say_every_part(
        self, recipe: Callable[..., Path], answering: list[int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And their sum; nothing is written."""
        path = recipe(chat=True, training=SMALL | {"rehearsal": 0.25, "mode": "anchored"})
        found = plan(prepare(path))
        assert list(found.parts) == ["router", "rehearsal", "training", "measuring", "asking"]
        assert found.seconds == pytest.approx(sum(found.parts.values()))
        assert all(seconds > 0 for seconds in found.parts.values())
        assert found.prepared > 0
        assert not (cache_dir() / "rehearsal").exists()
        assert main(["train", str(path), "--plan"]) == 0
        assert "rehearsal" in capsys.readouterr().err


def test_trained_and_asked(recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen train` says whether the expert still answers; a base without a template is not asked."""
    path = recipe(chat=True, training=SMALL)
    assert list(plan(prepare(path)).parts) == ["training", "measuring", "asking"]
    assert main(["train", str(path), "--json"]) == 0
    chat = json.loads(capsys.readouterr().out)["chat"]
    assert {chat[when]["n"] for when in ("before", "after")} == {20}
    assert chat["before"]["key"] != chat["after"]["key"]
    assert main(["train", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "plain questions, base:" in shown
    assert "plain questions, tiny:" in shown


def test_trained_on_a_base_that_does_not_chat(recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """It is not asked anything, and the time for it is not counted."""
    path = recipe(training=SMALL)
    assert list(plan(prepare(path)).parts) == ["training", "measuring"]
    assert main(["train", str(path), "--json"]) == 0
    assert "chat" not in json.loads(capsys.readouterr().out)


def test_the_router_is_not_told_that_rehearsed_text_is_of_the_domain() -> None:
    """Rows of a micro-batch that were rehearsed do not count; where all were, the domain's half is zero."""
    import warnings

    with warnings.catch_warnings(action="ignore"):
        model = trainable(llama(), TrainingRecipe(mode="anchored", rank=2))
    generator = torch.Generator().manual_seed(0)
    model = pair_up(model, torch.randn(2, 32, generator=generator), torch.ones(2, 32)).train()
    ids = torch.arange(16).reshape(2, 8) + 20
    general = torch.arange(8)[None] + 100

    def loss(rows: torch.Tensor, domain: torch.Tensor | None) -> float:
        model(input_ids=rows)
        return router_loss(model, general, domain).item()

    def half() -> float:
        model(input_ids=general)
        return sum(torch.nn.functional.softplus(pair.seen).mean().item() / 2 for pair in pairs(model)) / 2

    assert loss(ids, torch.tensor([True, True])) == pytest.approx(loss(ids, None))
    assert loss(ids, torch.tensor([True, False])) == pytest.approx(loss(ids[:1], None), rel=1e-5)
    assert loss(ids, torch.tensor([False, False])) == pytest.approx(half(), rel=1e-5)

"""Plans over experts whose tokens, padding or output heads are not the base's: what is decided and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.lexicons import END, START, save_expert
from support.tiny import llama, save_model, tokenizer
from support.tokenizers import OTHER_WORDS, bytewise

from cogen.checkpoints.load import load_tokenizer
from cogen.fusion.build import merge_job
from cogen.fusion.merge.lookup import resolve_method
from cogen.fusion.merge.outputs import planned_outputs, write_composite
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.merging.engine import Copy, Engine
from cogen.merging.methods.task_arithmetic import task_arithmetic

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
UNION = FuseRecipe(level="none", scale=0.6, tokenizer="union")


def build(folder: Path, machine: Any, recipe: FuseRecipe = UNION) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Plan and write: the plan, its inputs and the tensors in ``folder``, which lies beside those of the experts."""
    plan, inputs = make_plan(machine, recipe)
    folder.mkdir(parents=True)
    method = resolve_method(machine, plan.method, plan.parameters)
    write_composite(merge_job(plan, inputs, method), {"scale": plan.scales[0]}, folder)
    return plan, inputs, load_file(folder / "model.safetensors")


def plain(folder: Path) -> tuple[Any, Any]:
    """Model in float32 and tokenizer as transformers loads them; nothing may be missing or made up."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def merged(plan: Any, inputs: Any, rows: dict[str, torch.Tensor], base: torch.Tensor) -> torch.Tensor:
    """The method on whole tensors; ``rows`` by expert."""
    experts = [rows[expert.id] for expert in plan.experts]
    return task_arithmetic(base, experts, [1.0] * len(experts), scale=plan.scales[0]).bfloat16()


def with_means(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` rows more: the mean of the others, summed in float64."""
    mean = tensor.double().mean(dim=0).float()
    return torch.cat([tensor.float(), mean.expand(count, -1)])


class TestUnion:
    """The base's tokens at their ids, the experts' behind them."""

    def test_every_row(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Shared tokens are the method's value; for an added one those that lack it take the mean of their own."""
        machine = host(world.expert("e1", 1), save_expert(world, "e2", added=[START, END]))
        plan, inputs, found = build(tmp_path / "out", machine)
        read = {name: c.read(EMBEDDING).float() for name, c in {"base": inputs.base, **inputs.experts}.items()}
        rows = {"e1": with_means(read["e1"], 2), "e2": read["e2"]}
        assert found[EMBEDDING].shape == (302, 32)
        assert torch.equal(found[EMBEDDING], merged(plan, inputs, rows, with_means(read["base"], 2)))
        assert not torch.equal(found[EMBEDDING][300], found[EMBEDDING][301])
        assert (plan.vocabulary.size, plan.vocabulary.added, plan.vocabulary.dropped) == (302, 2, 0)
        assert plan.cost.output_bytes == sum(t.numel() * t.element_size() for t in found.values())
        assert (plan.tensors, plan.changed_tensors) == (len(found), len(found))

    def test_shared_tokens_do_not_notice(self, world: Any, host: Any, tmp_path: Path) -> None:
        """The logits of the base's tokens are those of a composite of the same experts cut to the base's tokens."""
        world.base(dtype="float32")
        full = save_expert(world, "e2", added=[START, END], dtype="float32")
        small = llama(2, vocab_size=302)
        small.resize_token_embeddings(300)
        small.save_pretrained(world.folder / "weights-e3")
        tokenizer().save_pretrained(world.folder / "weights-e3")
        base = world.base(dtype="float32")
        adapter = world.expert("e1", 1, base=base)
        cut = world.expert("e3", full=True, base=base)
        build(tmp_path / "union", host(adapter, full))
        build(tmp_path / "cut", host(adapter, cut), UNION.model_copy(update={"tokenizer": None}))
        (model, tokens), (other, usual) = plain(tmp_path / "union"), plain(tmp_path / "cut")
        text = "the grid operator measures voltage — 電力 😀"
        ids = tokens(text, return_tensors="pt")["input_ids"]
        assert torch.equal(ids, usual(text, return_tensors="pt")["input_ids"])
        with torch.no_grad():
            torch.testing.assert_close(model(ids).logits[..., :300], other(ids).logits, rtol=1e-5, atol=1e-5)

    def test_the_tokenizer(self, world: Any, host: Any, tmp_path: Path) -> None:
        """An added token is one id, within the embedding; other texts are split as the base splits them."""
        machine = host(
            world.expert("e1", 1), save_expert(world, "e2", added=[START]), save_expert(world, "e3", 3, [END])
        )
        plan, inputs, found = build(tmp_path / "out", machine)
        model, tokens = plain(tmp_path / "out")
        for token in ("<|im_start|>", "<|im_end|>"):
            (id,) = tokens(token)["input_ids"]
            assert 300 <= id < len(found[EMBEDDING]) == 302
            assert tokens.decode([id]) == token
        text = "the node of the Größe"
        assert tokens(text)["input_ids"] == tokenizer()(text)["input_ids"]
        assert model.config.vocab_size == 302
        assert inputs.composite_tokenizer.digest == plan.vocabulary.tokenizer_digest

    def test_other_words(self, world: Any, host: Any, tmp_path: Path) -> None:
        """A tokenizer with other ids: rows are matched by token, not by number."""
        other = bytewise(OTHER_WORDS, size=290)
        machine = host(save_expert(world, "e2", of=other))
        _, inputs, found = build(tmp_path / "out", machine)
        names, ours, theirs = load_tokenizer(tmp_path / "out").get_vocab(), tokenizer().get_vocab(), other.get_vocab()
        assert names.keys() == ours.keys() | theirs.keys()
        base, expert = (c.read(EMBEDDING).float() for c in (inputs.base, inputs.experts["e2"]))
        moved = [token for token in ours if token in theirs and ours[token] != theirs[token]]
        assert moved
        for token in moved:
            row = task_arithmetic(base[ours[token]], [expert[theirs[token]]], [1.0], scale=0.6).bfloat16()
            assert torch.equal(found[EMBEDDING][names[token]], row), token

    def test_the_order_of_wishes(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Two experts that add tokens, named in both orders: the same plan, tokens and bits."""
        experts = [save_expert(world, "e1", 1, [START]), save_expert(world, "e2", 2, [END])]
        found = []
        for i, order in enumerate((["e1", "e2"], ["e2", "e1"])):
            recipe = UNION.model_copy(update={"experts": dict.fromkeys(order, 1.0)})
            plan, _, _ = build(tmp_path / str(i), host(*experts), recipe)
            files = ("model.safetensors", "tokenizer.json", "config.json")
            found.append((plan.digest, [(tmp_path / str(i) / name).read_bytes() for name in files]))
        assert found[0] == found[1]

    def test_nothing_to_put_together(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Experts with the base's tokens: the bits, the tokenizer and the copies of a plan without the wish."""
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        plan, inputs, _ = build(tmp_path / "union", machine)
        bare, _, _ = build(tmp_path / "bare", machine, UNION.model_copy(update={"tokenizer": None}))
        for file in sorted(path.name for path in (tmp_path / "bare").iterdir()):
            assert (tmp_path / "union" / file).read_bytes() == (tmp_path / "bare" / file).read_bytes(), file
        assert plan.changed_tensors == bare.changed_tensors == 6
        with Engine(1) as engine:
            method = resolve_method(machine, plan.method, {})
            made = planned_outputs(merge_job(plan, inputs, method), engine)
        assert next(isinstance(o.work, Copy) for o in made if o.name == EMBEDDING)


class TestOtherChoices:
    """The base's tokens, or those of one expert."""

    def test_the_base(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Rows and tokenizer of the base; what only experts know is gone, and the plan says so."""
        machine = host(save_expert(world, "e2", added=[START, END]))
        plan, inputs, found = build(tmp_path / "out", machine, UNION.model_copy(update={"tokenizer": "base"}))
        base, expert = (c.read(EMBEDDING).float() for c in (inputs.base, inputs.experts["e2"]))
        assert torch.equal(found[EMBEDDING], merged(plan, inputs, {"e2": expert[:300]}, base))
        assert (plan.vocabulary.added, plan.vocabulary.dropped) == (0, 2)
        assert len(tokenizer()) == plan.vocabulary.size == 300
        assert (tmp_path / "out/tokenizer.json").read_bytes() == (world.folder / "base/tokenizer.json").read_bytes()
        plain(tmp_path / "out")

    def test_an_expert(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Its ids, its tokenizer byte for byte, its special tokens in the configuration."""
        other = bytewise(OTHER_WORDS, size=290, added=[START, END])
        other.eos_token = "<|im_end|>"
        expert = save_expert(world, "e2", of=other, eos_token_id=other.get_vocab()["<|im_end|>"])
        machine = host(world.expert("e1", 1), expert)
        plan, inputs, found = build(tmp_path / "out", machine, UNION.model_copy(update={"tokenizer": "e2"}))
        model, tokens = plain(tmp_path / "out")
        assert tokens.get_vocab() == other.get_vocab()
        assert (tmp_path / "out/tokenizer.json").read_bytes() == (
            world.folder / "weights-e2/tokenizer.json"
        ).read_bytes()
        assert model.config.vocab_size == len(found[EMBEDDING]) == len(other)
        assert model.config.eos_token_id == model.generation_config.eos_token_id == other.get_vocab()["<|im_end|>"]
        ours, theirs = tokenizer().get_vocab(), other.get_vocab()
        token = next(token for token in theirs if token in ours and ours[token] != theirs[token])
        read = {n: c.read(EMBEDDING).float() for n, c in {"base": inputs.base, **inputs.experts}.items()}
        rows = {"e1": read["e1"][ours[token]], "e2": read["e2"][theirs[token]]}
        assert torch.equal(found[EMBEDDING][theirs[token]], merged(plan, inputs, rows, read["base"][ours[token]]))

    @pytest.mark.parametrize(("options", "size"), [("union", 300), ("base", 300), ("e2", 320)])
    def test_padding(self, world: Any, host: Any, tmp_path: Path, options: str, size: int) -> None:
        """Rows that stand for no token: the source's number of them."""
        machine = host(world.expert("e1", 1), save_expert(world, "e2", rows=320))
        plan, _, found = build(tmp_path / "out", machine, UNION.model_copy(update={"tokenizer": options}))
        assert len(found[EMBEDDING]) == plan.vocabulary.size == size
        assert plain(tmp_path / "out")[0].config.vocab_size == size

    @pytest.mark.parametrize("tied", [True, False])
    @pytest.mark.parametrize("theirs", [True, False])
    def test_heads(self, world: Any, host: Any, tmp_path: Path, tied: bool, theirs: bool) -> None:
        """The composite has a head as soon as one model has its own; a tied model's is its embedding."""
        save_model(world.folder / "base", 7, "bfloat16", tie_word_embeddings=tied)
        machine = host(world.expert("e1", 1), save_expert(world, "e2", added=[START], tied=theirs))
        plan, inputs, found = build(tmp_path / "out", machine)
        model, _ = plain(tmp_path / "out")
        assert (HEAD in found) is (not (tied and theirs)) is (not model.config.tie_word_embeddings)
        assert plan.tensors == len(found)
        for name in (EMBEDDING, HEAD) if HEAD in found else (EMBEDDING,):
            all = {"base": inputs.base, **inputs.experts}
            read = {n: c.read(name if name in c.tensors else EMBEDDING).float() for n, c in all.items()}
            rows = {"e1": with_means(read["e1"], 1), "e2": read["e2"]}
            assert torch.equal(found[name], merged(plan, inputs, rows, with_means(read["base"], 1)))
            part = model.lm_head if name == HEAD else model.model.embed_tokens
            assert torch.equal(part.weight, found[name].float())


class TestTransplants:
    """What a model takes for a token that it lacks."""

    def test_subword(self, world: Any, host: Any, tmp_path: Path) -> None:
        """The mean of the token's pieces in the model itself."""
        machine = host(save_expert(world, "e2", added=[START]))
        plan, inputs, found = build(tmp_path / "out", machine, UNION.model_copy(update={"transplant": "subword"}))
        base, expert = (c.read(EMBEDDING) for c in (inputs.base, inputs.experts["e2"]))
        pieces = tokenizer()("<|im_start|>", add_special_tokens=False)["input_ids"]
        assert len(pieces) > 1
        own = base[pieces].double().mean(dim=0).float()
        assert torch.equal(found[EMBEDDING][300], merged(plan, inputs, {"e2": expert[300].float()}, own))

    def test_each_is_another_plan(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Other bits, and other digests of what decides them; shared tokens have the same rows."""
        machine = host(save_expert(world, "e2", added=[START]))
        built = {
            kind: build(tmp_path / kind, machine, UNION.model_copy(update={"transplant": kind}))
            for kind in ("mean", "subword", "omp")
        }
        assert len({plan.inputs_digest for plan, _, _ in built.values()}) == 3
        assert len({plan.vocabulary.digest for plan, _, _ in built.values()}) == 3
        rows = [found[EMBEDDING] for _, _, found in built.values()]
        assert all(torch.equal(rows[0][:300], other[:300]) for other in rows[1:])
        assert len({str(other[300].tolist()) for other in rows}) == 3


def _template_of_base(world: Any, text: str) -> None:
    world.base()
    (world.folder / "base/chat_template.jinja").write_text(text)


class TestChatTemplates:
    """Kept from the tokenizer's source unless an expert is named."""

    @pytest.mark.parametrize("tokens", [None, "union"])
    def test_of_an_expert(self, world: Any, host: Any, tmp_path: Path, tokens: str | None) -> None:
        """With and without a wish for the tokenizer; nothing else of the folder changes."""
        _template_of_base(world, "base: {{ messages[0].content }}")
        expert = save_expert(world, "e2", template="e2: {{ messages[0].content }}")
        machine = host(world.expert("e1", 1), expert)
        for options, message in ((None, "base: hi"), ("e2", "e2: hi")):
            recipe = UNION.model_copy(update={"tokenizer": tokens, "chat_template": options})
            plan, _, _ = build(tmp_path / f"out-{options}", machine, recipe)
            tokenizer = load_tokenizer(tmp_path / f"out-{options}")
            assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == message
            assert plan.chat_template == options
        for file in ("model.safetensors", "config.json", "tokenizer.json"):
            assert (tmp_path / "out-None" / file).read_bytes() == (tmp_path / "out-e2" / file).read_bytes()

    def test_an_adapter_brings_its_own(self, world: Any, host: Any, tmp_path: Path) -> None:
        """From its folder, where peft's users save it; without one it has its base's."""
        from support.tiny import save_adapter

        save_adapter(world.folder / "weights-e1", 1)
        (world.folder / "weights-e1/chat_template.jinja").write_text("adapter")
        _template_of_base(world, "base")
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        for id, message in (("e1", "adapter"), ("e2", "base")):
            build(tmp_path / f"out-{id}", machine, FuseRecipe(level="none", scale=0.5, chat_template=id))
            assert (tmp_path / f"out-{id}" / "chat_template.jinja").read_text() == message


def test_the_generation_config_agrees(world: Any, host: Any, tmp_path: Path) -> None:
    """With a union the base's ids stay; the file says the same as the configuration."""
    machine = host(save_expert(world, "e2", added=[START, END], eos_token_id=301))
    build(tmp_path / "out", machine)
    config, generation = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("config", "generation_config")
    )
    assert config["eos_token_id"] == generation["eos_token_id"] == 0
    assert config["vocab_size"] == 302

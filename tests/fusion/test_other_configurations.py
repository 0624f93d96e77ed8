"""Experts whose configuration is not their base's: another function is refused, other side files are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import carry_out
from support.tiny import CHAT_TEMPLATE, logits, save_adapter, save_model

from cogen.artifacts.lock import read_lock
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.plan import plan_digest
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.runs.replay import recipe_of

NONE = FuseRecipe(level="none", scale=1.0)


def full(world: Any, id: str, seed: int = 3, generation: dict[str, Any] | None = None, **config: Any) -> Any:
    """An expert of relation full whose config.json says something else than its base's."""
    base = world.base()
    folder = save_model(world.folder / f"weights-{id}", seed, "bfloat16")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return world.expert(id, full=True, base=base)


@pytest.mark.parametrize("strategy", ["merge", "moe"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rope_parameters": {"rope_theta": 77.0, "rope_type": "default"}}, r"rope_theta is 77\.0 and 10000\.0"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu' and 'silu'"),
        ({"rms_norm_eps": 0.5}, r"rms_norm_eps is 0\.5 and 1e-06"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False and True"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1 and 2"),
        ({"a_field_of_tomorrow": 3}, "a_field_of_tomorrow is 3 and not set"),
    ],
)
def test_another_function_is_refused(world: Any, host: Any, strategy: str, change: dict[str, Any], text: str) -> None:
    """By the field and both values, before anything is written."""
    with pytest.raises(CompatibilityError, match=text) as caught:
        make_plan(host(full(world, "alpha", **change)), FuseRecipe(strategy=strategy, level="none"))
    assert "alpha" in caught.value.message
    assert caught.value.hint
    assert "--strategy route" in caught.value.hint


def test_an_expert_kept_apart_may_compute_as_it_likes(world: Any, host: Any) -> None:
    """A route uses every model by its own configuration."""
    expert = full(world, "alpha", hidden_act="relu")
    plan, _ = make_plan(host(expert, world.expert("beta")), FuseRecipe(strategy="route", level="none"))
    assert plan.strategy == "route"


def test_another_base_under_an_adapter(world: Any, host: Any) -> None:
    """The same weights in another package, with another configuration: the adapter was trained on something else."""
    base = world.base()
    save_model(world.folder / "again", 7, "bfloat16", rope_parameters={"rope_theta": 77.0, "rope_type": "default"})
    again = world.base(name="again")
    assert again["weights_digest"] == base["weights_digest"]
    experts = [world.expert("alpha", 1, base=base), world.expert("beta", 2, base=again)]
    with pytest.raises(CompatibilityError, match="rope_theta"):
        make_plan(host(*experts), NONE)


def test_one_expert_at_weight_one_is_that_expert(world: Any, host: Any, tmp_path: Path) -> None:
    """As a function: the composite's logits are the expert's, whatever is harmless in its configuration."""
    expert = full(world, "alpha", attention_dropout=0.1, unsloth_version="1", max_position_embeddings=64)
    carry_out(host(expert), NONE, tmp_path / "out")
    own, made = (load_model(open_folder(f), "float32") for f in (world.folder / "weights-alpha", tmp_path / "out"))
    assert torch.equal(logits(made), logits(own))


class TestSideFiles:
    """End of text, generation config and chat template: the base's, unless an option chooses."""

    GENERATION = {"temperature": 0.25, "do_sample": True, "eos_token_id": [0, 5]}  # noqa: RUF012 - read only

    def test_the_plan_shows_them(self, world: Any, host: Any) -> None:
        expert = full(world, "alpha", eos_token_id=5, pad_token_id=3, generation=self.GENERATION)
        save_adapter(world.folder / "weights-beta")
        (world.folder / "weights-beta" / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        plan, _ = make_plan(host(expert, world.expert("beta")), NONE)
        messages = [note.message for note in plan.notes]
        (ends,) = [message for message in messages if "alpha ends or draws" in message]
        assert "eos_token_id [0, 5], not 0" in ends
        assert "pad_token_id 3, not unset" in ends
        assert "temperature 0.25, not unset" in ends
        assert "--generation-config alpha" in ends
        (template,) = [message for message in messages if "chat template" in message]
        assert "beta has another" in template
        assert "--chat-template beta" in template

    def test_nothing_is_said_where_nothing_differs(self, world: Any, host: Any) -> None:
        plan, _ = make_plan(host(full(world, "alpha"), world.expert("beta")), NONE)
        assert not [note for note in plan.notes if "base's" in note.message]

    @pytest.mark.parametrize("strategy", ["merge", "moe"])
    @pytest.mark.parametrize("generation", [GENERATION, None])
    def test_the_option(
        self, world: Any, host: Any, tmp_path: Path, strategy: str, generation: dict[str, Any] | None
    ) -> None:
        """Takes the expert's, is in the plan and the lock, and survives a replay's recipe."""
        expert = full(world, "alpha", eos_token_id=5, pad_token_id=3, generation=generation)
        if generation is None:
            (world.folder / "weights-alpha" / "generation_config.json").unlink(missing_ok=True)
            expert = world.expert("alpha", full=True)
        recipe = FuseRecipe(strategy=strategy, level="none", generation_config="alpha", routing="hidden")
        recipe = recipe if strategy == "moe" else FuseRecipe(level="none", generation_config="alpha")
        made = carry_out(host(expert), recipe, tmp_path / "out")
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert (config["eos_token_id"], config["pad_token_id"]) == (5, 3)
        written = tmp_path / "out" / "generation_config.json"
        assert (json.loads(written.read_text()) if written.exists() else None) == generation
        assert not [note for note in made.plan.notes if "ends or draws" in note.message]
        lock = read_lock(tmp_path / "out")
        assert lock.plan.generation_config == "alpha"
        assert recipe_of(lock.plan).generation_config == "alpha"
        assert "generation config that of alpha" in (tmp_path / "out" / "README.md").read_text()

    def test_plans_without_it_keep_their_digest(self, world: Any, host: Any) -> None:
        plan, _ = make_plan(host(world.expert("alpha")), FuseRecipe(level="none"))
        dumped = plan.model_dump(mode="json")
        assert "generation_config" not in dumped
        assert plan_digest(dumped) == plan.digest

    def test_mistakes(self, world: Any, host: Any) -> None:
        experts = host(world.expert("alpha"), world.expert("beta"))
        for recipe, text in (
            (NONE.model_copy(update={"generation_config": "gamma"}), "unknown generation config 'gamma'"),
            (NONE.model_copy(update={"generation_config": "alpha", "tokenizer": "union"}), "cannot be combined"),
            (FuseRecipe(level="none", strategy="route", generation_config="alpha"), "has no generation config"),
        ):
            with pytest.raises(UsageError, match=text) as caught:
                make_plan(experts, recipe)
            assert caught.value.hint

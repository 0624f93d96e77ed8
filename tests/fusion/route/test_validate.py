"""Wishes that a route cannot grant are refused before anything is fetched."""

from __future__ import annotations

from typing import Any

import pytest

from cogen.errors import CogenError, UsageError
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.route.plan import plan_route
from cogen.fusion.route.validate import choose, shared_base
from cogen.host import Diagnostic, Host


@pytest.fixture
def machine(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Nothing may be opened."""

    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("cogen.fusion.route.plan.open_members", opened)
    monkeypatch.setattr("cogen.fusion.route.manifest.fetch", opened)
    found: Host = host(world.expert("e1", 1), world.expert("e2", 2), world.expert("mute", 3, samples=None))
    return found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "task_arithmetic"}, "strategy route fuses nothing, so it has no method"),
        ({"scale": 0.5}, "so it has no scale"),
        ({"parameters": {"density": 0.3}}, "so it has no parameters"),
        ({"search": 4}, "so it has no search"),
        ({"space": {"density": (0.1, 0.9)}}, "so it has no space"),
        ({"tokenizer": "union"}, "so it has no tokenizer"),
        ({"transplant": "omp"}, "so it has no transplant"),
        ({"chat_template": "e1"}, "so it has no chat template"),
        ({"routing": "hidden"}, "so it has no routing"),
        ({"top_k": 2}, "so it has no top k"),
        ({"public": True}, "so it has no public"),
        ({"experts": {"e1": 2.0}}, "takes experts as they are, without weights or parameters: e1"),
        ({"experts": {"e1": {"parameters": {"density": 0.3}}}}, "takes experts as they are"),
    ],
)
def test_a_wish_that_would_be_ignored_is_refused(machine: Host, options: dict[str, Any], message: str) -> None:
    """By its name, also where it asks for the default."""
    with pytest.raises(UsageError, match=message) as caught:
        plan_route(machine, FuseRecipe.model_validate({"strategy": "route", "experts": {"e1": 1.0}} | options))
    assert caught.value.hint


def test_an_expert_without_samples_takes_part(machine: Host) -> None:
    """It is placed by text that it writes itself: the plan says so."""
    assert [expert.id for expert in choose(machine, FuseRecipe(strategy="route"))] == ["e1", "e2", "mute"]


def test_an_unknown_expert_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(UsageError, match="no expert 'nobody' is installed"):
        choose(Host(), FuseRecipe(strategy="route", experts={"nobody": 1.0}))
    with pytest.raises(UsageError, match="no expert can be used"):
        choose(Host(), FuseRecipe(strategy="route"))


def test_the_experts_are_sorted(machine: Host) -> None:
    """Weight 1, said or not, is no wish."""
    found = choose(machine, FuseRecipe.model_validate({"strategy": "route", "experts": {"e2": 1.0, "e1": {}}}))
    assert [expert.id for expert in found] == ["e1", "e2"]


def test_experts_that_were_made_from_nothing_share_no_base(world: Any) -> None:
    """Nor does one of them with those that descend from it."""
    assert shared_base([world.expert("e1", 1), world.expert("e2", 2)]) == world.expert("e1").spec.model.base
    scratch = world.expert("own", 4, full=True, model={"relation": "scratch", "base": None})
    assert shared_base([scratch]) is None
    assert shared_base([world.expert("e1", 1), scratch]) is None


def test_a_plugin_may_veto_a_route(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reviewers see the plan, with its strategy and experts."""
    machine = host(world.expert("e1", 1))

    def review(plan: Any) -> list[Any]:
        assert (plan.strategy, [expert.id for expert in plan.experts]) == ("route", ["e1"])
        return [("reviewer", Diagnostic("veto", "not this one", "leave it out"))]

    monkeypatch.setattr(machine, "review", review)
    with pytest.raises(CogenError, match="reviewer vetoes this plan: not this one"):
        plan_route(machine, FuseRecipe(strategy="route", level="none"))

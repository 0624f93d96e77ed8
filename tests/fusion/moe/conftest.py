"""A short general text, so that routers are made in a moment; experts of every family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.families import Zoo

GENERAL = [
    "the current of a river and the power of the wind",
    "every network has a node that nobody measures",
    "Größe und Gewicht — eine Frage der Zeit 😀",
    "at the market they sell apples, pears and plums; the grid of the roof is made of iron",
]


@pytest.fixture(autouse=True)
def _short_general_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "routing.anchors",
        "fusion.moe.routers",
        "fusion.moe.mixture",
        "fusion.moe.train_routers",
        "routing.token_counts",
        "fusion.moe.prefix.rows",
    ):
        monkeypatch.setattr(f"cogen.{module}.calibration_texts", lambda: list(GENERAL))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only wait for each other's threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def zoo(world: Any) -> Callable[..., Zoo]:
    """``zoo(family)``: a base of this family, and experts over it."""
    return lambda *arguments, **options: Zoo(world, *arguments, **options)

"""Losses of plugins that fail while a student is taught: one line that names the plugin, from every part of a loss."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from support.manifests import install
from support.runs import carry_out
from support.sites import site

from cogen.errors import PluginError
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.plugin import plugin_losses
from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.losses.registry import needs_of
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host

__all__ = ["site"]

INIT = """
import cogen

@cogen.hookimpl
def cogen_distillation_losses(register):
    register("odd", "cogen_plugin_odd.odd:LOSS")
"""
#: A loss that is right: it draws the first logit of every row to zero. What a test changes stands in braces.
RIGHT = {
    "parameters": "{'k': 2}",
    "needs": "TeacherStatistics()",
    "make": "[Odd()]",
    "name": "'odd'",
    "rows": "torch.arange(len(batch.targets))",
    "reads": "Reads(torch.zeros(len(batch.targets), 1, dtype=torch.int64))",
    "total": "(seen.columns.pow(2).sum(), len(batch.targets))",
}
CODE = """
import torch
from cogen.fusion.distill.losses.plugin import PluginLoss
from cogen.fusion.distill.losses.reads import Reads
from cogen.fusion.distill.teachers.needs import TeacherStatistics

def stop(error): raise error

class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, grad): raise LookupError("on the way back")

class Odd:
    needs = TeacherStatistics()
    @property
    def name(self): return {name}
    def rows(self, batch): return {rows}
    def reads(self, batch, width): return {reads}
    def total(self, seen, batch): return {total}

LOSS = PluginLoss(
    summary="odd", parameters={parameters}, needs=lambda p: {needs}, make=lambda s, t, p: {make}
)
"""


def code(**changes: str) -> str:
    text = CODE
    for name, value in (RIGHT | changes).items():
        text = text.replace(f"{{{name}}}", value)
    return text


def losses(site: Path, **changes: str) -> Any:
    folder = install(site, "odd", init=INIT)
    (folder / "odd.py").write_text(code(**changes))
    return plugin_losses(Host.discover(), "odd")


BATCH = DistillBatch.alone(torch.tensor([1, 2, 3]))
SEEN = SeenTokens(torch.zeros(3), torch.ones(3, 1), torch.zeros(3, 0), torch.zeros(3, 0))


def use(found: Any) -> tuple[Any, int]:
    """As a step of a training does."""
    needs_of("odd", {}, found)
    (loss,) = found["odd"].make(None, None, {"k": 2})
    assert loss.name == "odd"
    loss.rows(BATCH)
    loss.reads(BATCH, 10)
    total: tuple[Any, int] = loss.total(SEEN, BATCH)
    return total


def test_a_loss_that_is_right(site: Path) -> None:
    """The same numbers as without the border, in a worker process as well."""
    found = losses(site)
    total, count = use(found)
    assert (float(total), count) == (3.0, 3)
    (loss,) = found["odd"].make(None, None, {"k": 2})
    again = pickle.loads(pickle.dumps(loss))
    assert float(again.total(SEEN, BATCH)[0]) == 3.0
    assert isinstance(again.reads(BATCH, 10), Reads)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameters": "3"}, "its parameters are not numbers by name"),
        ({"parameters": "{'k': 'two'}"}, "its parameters are not numbers by name"),
        ({"needs": "stop(ValueError('no'))"}, r"loss odd failed: ValueError: no \(odd.py:7\)"),
        ({"needs": "5"}, "it needs a int, not TeacherStatistics"),
        ({"needs": "TeacherStatistics(top=-1)"}, "it needs -1 and 0 logits a row"),
        ({"make": "stop(SystemExit(0))"}, "loss odd failed: SystemExit: 0"),
        ({"make": "None"}, r"make\(\) gave a NoneType, not a list of losses"),
        ({"make": "[]"}, r"make\(\) gave a list, not a list of losses"),
        ({"make": "[5]"}, r"make\(\) gave a int, which has no name: it is no loss"),
        ({"name": "stop(KeyError('x'))"}, "loss odd failed: KeyError: 'x'"),
        ({"rows": "stop(RuntimeError('in rows'))"}, "loss odd failed: RuntimeError: in rows"),
        ({"rows": "[0, 1]"}, r"rows\(\) gave a list, not row numbers"),
        ({"rows": "torch.tensor([0.5])"}, r"rows\(\) gave a tensor of torch.float32 of shape \(1,\), not row numbers"),
        ({"rows": "torch.tensor([0, 3])"}, r"rows\(\) gave numbers that are not ascending, or not among the 3 rows"),
        ({"rows": "torch.tensor([1, 1])"}, "not ascending"),
        ({"reads": "None"}, r"reads\(\) gave a NoneType, not Reads"),
        ({"reads": "Reads(torch.zeros(3, 1))"}, r"reads\(\) gave a tensor of torch.float32 of shape \(3, 1\) as col"),
        ({"reads": "Reads(torch.full((3, 1), 10))"}, "columns that are not among the 10 of the vocabulary"),
        ({"reads": "Reads(top=11)"}, "asks for the 11 largest logits of 10"),
        ({"reads": "Reads(top='all')"}, "asks for the all largest logits of 10"),
        ({"total": "seen.columns.sum()"}, r"total\(\) gave a tensor .* not the sum and how many it is a sum of"),
        ({"total": "(3, 3)"}, r"total\(\) gave a int as the sum, not a tensor with one number"),
        ({"total": "(seen.columns, 3)"}, r"total\(\) gave a tensor of torch.float32 of shape \(3, 1\) as the sum"),
        ({"total": "(seen.columns.sum() * torch.nan, 3)"}, r"total\(\) gave nan"),
        ({"total": "(seen.columns.sum(), 'many')"}, r"total\(\) gave a str, not how many the sum is of"),
    ],
)
def test_a_loss_that_is_wrong(site: Path, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(PluginError, match=reason) as caught:
        use(losses(site, **changes))
    assert caught.value.plugin == "cogen_plugin_odd"
    assert caught.value.message.startswith("cogen_plugin_odd: loss odd")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"total": "stop(ArithmeticError('in a step'))"}, "loss odd failed: ArithmeticError: in a step"),
        (
            {"total": "(Backward.apply(seen.columns).sum(), 3)"},
            "a step with loss odd failed: LookupError: on the way back",
        ),
    ],
)
def test_in_a_training(site: Path, world: Any, host: Any, tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    """On the way there and on the way back; no composite is left."""
    folder = install(site, "odd", init=INIT)
    (folder / "odd.py").write_text(code(**changes))
    machine = host(world.expert("e1", 1), world.expert("e2", 2))
    machine._plugins = list(Host.discover().plugins)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"the power grid and the river {i}"}) + "\n" for i in range(6)))
    small = {"groups": "apart", "pivot": "e1", "tokens": 120, "tokens_a_step": 64, "rank": 2, "alpha": 4, "threads": 1}
    options = {"method": "odd", "level": "none", "distill": small | {"texts": (str(texts),)}}
    with pytest.raises(PluginError, match=f"^cogen_plugin_odd: {reason}"):
        carry_out(machine, FuseRecipe.model_validate(options), tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""A mixture of reference experts: each of its slots is, to rounding, the expert that was put there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder, open_weights
from cogen.cli.main import main
from cogen.fusion.build import merge_job
from cogen.fusion.moe.insight import only
from cogen.fusion.moe.write import write_mixture
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host
from cogen.merging.methods.linear import linear

pytestmark = pytest.mark.network

TWO, FIVE = ("clinical", "power"), ("clinical", "energy", "materials", "neuro", "power")
_TEXT = "The transformer at bus 4 is overloaded; the patient in ward 4, says the nurse, sleeps. " * 3


@pytest.mark.parametrize("experts", [TWO, pytest.param(FIVE, marks=pytest.mark.slow)], ids=["two", "five"])
def test_every_slot_is_its_expert(real_cache: Path, tmp_path: Path, experts: tuple[str, ...]) -> None:
    """With all routers set to one slot the logits are those of the dense expert, whatever the routers' rows are."""
    host = Host.discover()
    recipe = FuseRecipe(experts=dict.fromkeys(experts, 1.0), strategy="moe", routing="hidden", level="none")
    plan, inputs = make_plan(host, recipe)
    details = plan.details
    shape = details.layers, details.hidden
    rows = {id: torch.randn(shape) for id in details.slots}
    write_mixture(details, merge_job(plan, inputs, linear), plan.scales[0], rows, tmp_path)
    mixture = load_model(open_folder(tmp_path), "float32")
    ids = inputs.tokenizer(_TEXT, return_tensors="pt")["input_ids"]
    for slot, id in enumerate(plan.details.slots):
        reference = plan.base if id == "base" else host.expert(id).spec.model
        dense = load_model(open_weights(reference), "float32")
        with torch.no_grad(), only(mixture, slot):
            found, wanted = mixture(input_ids=ids).logits, dense(input_ids=ids).logits
        # Sums of 576 and 1,536 products in another order; the logits are about 10.
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3, msg=lambda text, id=id: f"{id}: {text}")


@pytest.mark.slow
def test_taking_an_expert_out_is_a_build_without_it(real_cache: Path, tmp_path: Path) -> None:
    """The same SHA-256 of weights, configuration and routers."""
    build = ["--strategy", "moe", "--routing", "hidden", "--level", "none", "-q"]
    whole, smaller, fresh = (str(tmp_path / name) for name in ("whole", "smaller", "fresh"))
    assert main(["fuse", "clinical", "power", "neuro", *build, "-o", whole]) == 0
    assert main(["fuse", "--onto", whole, "--remove", "power", "-q", "-o", smaller]) == 0
    assert main(["fuse", "clinical", "neuro", *build, "-o", fresh]) == 0
    for name in ("model.safetensors", "config.json", "router/router.safetensors"):
        sums = {hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest() for folder in (smaller, fresh)}
        assert len(sums) == 1, name

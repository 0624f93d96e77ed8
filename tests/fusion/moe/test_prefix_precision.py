"""Routing prefix in 16 and 8 bits: the routers prefer the same slots."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from support.mixtures import assemble, loaded
from support.prefix import WORLDS, evidence_of, field_ids, spoken, with_turns, world_of


@pytest.fixture
def quantized(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the benchmark."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    return importlib.import_module("mixing.quantized")


def test_rounding(quantized: Any) -> None:
    """One scale a tensor or a row; three bits of mantissa."""
    values = torch.tensor([[1.0, 0.004], [127.0, 0.6]])
    assert quantized.int8(values, by_row=False).tolist() == [[1.0, 0.0], [127.0, 1.0]]
    assert quantized.int8(values, by_row=True)[0].tolist() == pytest.approx([1.0, 0.5 / 127 * 2], abs=1e-3)
    assert quantized.fp8(torch.tensor([448.0, 17.0, 0.1])).tolist() == pytest.approx([448.0, 16.0, 0.1015625])


@pytest.mark.parametrize("family", sorted(WORLDS))
def test_winners(quantized: Any, world: Any, host: Any, family: str, tmp_path: Path) -> None:
    """In bfloat16, and with 8-bit projections, routers and activations; only an embedding with a scale a row loses the
    evidence, one with a scale for 32 elements keeps it."""
    zoo = with_turns(world_of(world, family))
    experts = [spoken(zoo, "e1", 1), spoken(zoo, "e2", 2), spoken(zoo, "e3", 3)]
    folder = assemble(host(*experts), tmp_path / "out", routing="prefix").folder
    texts = [field_ids(*order, length=60) for order in (("e1", "e2"), ("e3", "e1"), ("e2", "e3"))]
    exact = quantized.winners(loaded(folder), texts, 1)
    assert len(set(exact.tolist())) > 2

    def share(dtype: str, kind: str = "", embedding: str = "") -> float:
        model = loaded(folder, dtype)
        if kind:
            quantized.quantize(model, kind, embedding)
        return float((quantized.winners(model, texts, 1) == exact).double().mean())

    assert share("bfloat16") > 0.97
    assert share("float32", "int8") > 0.85  # margins are small between three tiny experts
    assert share("float32", "fp8") > 0.85
    table = loaded(folder).get_input_embeddings().weight.detach()
    evidence = torch.from_numpy(evidence_of(folder))
    rounded = quantized.int8(table, by_row=True)[:, 34 : 34 + evidence.shape[1]]
    assert (rounded == 0).double().mean() > 0.9  # what docs/prefix-routing.md warns of
    blocks = quantized.int8(table.reshape(len(table), -1, 32), by_row=True).reshape(table.shape)
    sizes = table[:, :32].square().mean(1, keepdim=True).sqrt().double() / 256
    near = (blocks[:, 34 : 34 + evidence.shape[1]].double() / sizes - evidence).abs()
    assert float(near[2:].max()) < 0.05

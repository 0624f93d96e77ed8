"""DP-SGD: gradients of single documents, clipping, noise, sampling, ε; and what a recipe may ask for."""

from __future__ import annotations

import math
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.tiny import llama

from cogen.errors import MissingExtraError, TrainError
from cogen.forge import private_training
from cogen.forge.private_training import calibrate, expected_tokens, train_private
from cogen.forge.recipe import PrivacyRecipe, TrainingRecipe
from cogen.forge.train import trainable

ASKED = TrainingRecipe(
    mode="lora",
    rank=2,
    alpha=4,
    learning_rate=0.01,
    sequence_length=16,
    batch_size=8,
    tokens=16 * 8 * 4,
    threads=1,
    save_every=2,
    privacy=PrivacyRecipe(epsilon=8.0, delta=1e-3),
)


def documents(count: int = 40) -> list[list[int]]:
    rng = random.Random(0)
    return [[0, *(rng.randrange(1, 300) for _ in range(rng.randrange(3, 30)))] for _ in range(count)]


def trained_tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture(autouse=True)
def _threads() -> Any:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


class TestStep:
    """One step, against gradients that are computed document by document."""

    def test_clipped_sum_of_single_gradients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without noise: the sum of each document's gradient, cut to the norm, divided by the expected batch."""
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        monkeypatch.setattr("cogen.privacy.losses._BATCH_TOKENS", 40)  # several passes
        chosen = [ids[:16] for ids in documents(7)]
        with warnings.catch_warnings(action="ignore"):
            model = trainable(llama(), ASKED).train()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        parameters = [p for p in model.parameters() if p.requires_grad]
        single = []
        for ids in chosen:
            row = torch.tensor([ids])
            logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
            single.append(torch.autograd.grad(torch.nn.functional.cross_entropy(logits, row[0, 1:]), parameters))
        norms = [float(torch.stack([g.norm() for g in gradients]).norm()) for gradients in single]
        limit = sorted(norms)[3]  # some are cut, some are not
        wanted = [
            sum(gradients[index] * min(1.0, limit / norm) / 8 for gradients, norm in zip(single, norms, strict=True))
            for index in range(len(parameters))
        ]
        inner = torch.optim.SGD(parameters, lr=0.0)
        options = {"noise_multiplier": 0.0, "max_grad_norm": limit, "expected_batch_size": 8}
        optimizer = DPOptimizer(inner, **options)
        seen: list[torch.Tensor] = []
        optimizer.attach_step_hook(lambda _: seen.extend(p.grad.clone() for p in parameters))
        private_training._step(GradSampleModule(model, loss_reduction="sum"), optimizer, chosen)
        assert len(seen) == len(wanted)
        for found, right in zip(seen, wanted, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-5)

    def test_an_empty_sample_is_noise_alone(self) -> None:
        """Its absence would tell that nobody was drawn."""
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        with warnings.catch_warnings(action="ignore"):
            model = trainable(llama(), ASKED).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        random = torch.Generator().manual_seed(1)
        options = {"noise_multiplier": 3.0, "max_grad_norm": 2.0, "expected_batch_size": 4}
        optimizer = DPOptimizer(torch.optim.SGD(parameters, lr=0.0), generator=random, **options)
        seen: list[torch.Tensor] = []
        optimizer.attach_step_hook(lambda _: seen.extend(p.grad.flatten().clone() for p in parameters))
        assert private_training._step(GradSampleModule(model, loss_reduction="sum"), optimizer, []) == 0.0
        values = torch.cat(seen)
        assert float(values.std()) == pytest.approx(3.0 * 2.0 / 4, rel=0.05)
        assert abs(float(values.mean())) < 0.1


class TestRun:
    """A whole run."""

    def test_trains_and_says_what_it_spent(self, tmp_path: Path) -> None:
        steps: list[int] = []
        model, spent = train_private(llama(), documents(), ASKED, tmp_path, lambda s: steps.append(s.step))
        assert steps == [1, 2, 3, 4]
        assert spent.epsilon <= 8.0
        assert spent.delta == 1e-3
        assert spent.max_grad_norm == 1.0
        assert spent.noise_multiplier > 0.3
        assert "Poisson sampling with probability 8/40, 4 steps" in spent.accountant
        changed = trained_tensors(model)
        assert changed
        assert all(torch.any(value != 0) for value in changed.values())
        assert not any(hasattr(p, "grad_sample") and p.grad_sample is not None for p in model.parameters())

    def test_two_runs_differ(self, tmp_path: Path) -> None:
        """The noise is nobody's to know: no seed of the recipe gives it again."""
        one, _ = train_private(llama(), documents(), ASKED, tmp_path / "1", lambda _: None)
        two, _ = train_private(llama(), documents(), ASKED, tmp_path / "2", lambda _: None)
        left, right = trained_tensors(one), trained_tensors(two)
        assert all(not torch.equal(left[name], right[name]) for name in left)

    def test_resumes(self, tmp_path: Path) -> None:
        """From the last save: its steps are not done, and not spent, twice."""

        def dies(step: Any) -> None:
            if step.step == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_private(llama(), documents(), ASKED, tmp_path, dies)
        steps: list[int] = []
        train_private(llama(), documents(), ASKED, tmp_path, lambda s: steps.append(s.step))
        assert steps == [3, 4]


class TestBounds:
    """What a recipe may ask for."""

    def test_less_epsilon_needs_more_noise(self) -> None:
        noises = [
            calibrate(ASKED.model_copy(update={"privacy": PrivacyRecipe(epsilon=e, delta=1e-3)}), 40).noise_multiplier
            for e in (1.0, 8.0)
        ]
        assert noises[0] > 2 * noises[1]

    def test_epsilon_of_one_gaussian_release(self) -> None:
        """Against Balle and Wang 2018 (arXiv:1805.06083): one step that takes everybody is the Gaussian mechanism."""
        from scipy.stats import norm

        once = ASKED.model_copy(update={"batch_size": 40, "tokens": 16 * 40})
        spent = calibrate(once, 40)
        half, shift = 1 / (2 * spent.noise_multiplier), spent.epsilon * spent.noise_multiplier
        delta = norm.cdf(half - shift) - math.exp(spent.epsilon) * norm.cdf(-half - shift)
        assert delta == pytest.approx(1e-3, rel=0.1)

    @pytest.mark.parametrize(
        ("changes", "count", "word"),
        [
            ({"batch_size": 50}, 40, "a step reads 50 documents, and there are only 40"),
            ({"privacy": PrivacyRecipe(epsilon=8.0, delta=0.05)}, 40, "allows one of 40 documents"),
        ],
    )
    def test_bounds_that_mean_nothing(self, changes: dict[str, Any], count: int, word: str) -> None:
        with pytest.raises(TrainError, match=word) as caught:
            calibrate(ASKED.model_copy(update=changes), count)
        assert caught.value.hint

    @pytest.mark.parametrize("mode", ["full", "anchored"])
    def test_other_modes(self, mode: str) -> None:
        with pytest.raises(ValidationError, match=f"it is not there for mode '{mode}'"):
            TrainingRecipe(mode=mode, privacy=PrivacyRecipe(epsilon=8, delta=1e-5))

    @pytest.mark.parametrize("other", [{"data": "chat"}, {"document_ends": True}, {"rehearsal": 0.25}])
    def test_other_kinds_of_text(self, other: dict[str, Any]) -> None:
        """What the accountant's unit of privacy does not cover is refused by name, not ignored."""
        with pytest.raises(ValidationError, match=f"cannot be combined with {next(iter(other))}.*leave one of the two"):
            TrainingRecipe(mode="lora", privacy=PrivacyRecipe(epsilon=8, delta=1e-5), **other)

    def test_without_opacus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from importlib.util import find_spec

        monkeypatch.setattr("cogen.extras.find_spec", lambda name: None if name == "opacus" else find_spec(name))
        monkeypatch.delitem(sys.modules, "opacus", raising=False)
        with pytest.raises(MissingExtraError, match="needs opacus") as caught:
            calibrate(ASKED, 40)
        assert caught.value.hint == 'pip install "cogen-core[privacy]"'

    def test_tokens_are_those_of_the_cut_documents(self) -> None:
        assert expected_tokens([[0] * 10, [0] * 30], ASKED) == 13 * 8 * 4

    def test_old_recipes_keep_their_form(self) -> None:
        assert "privacy" not in TrainingRecipe().model_dump()

"""From a mixed install to a taught pivot, on tiny models."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import execute_plan

from cogen.fusion.distill.losses.names import LOSSES
from cogen.fusion.distill.plan import plan_distillation
from cogen.fusion.recipe import FuseRecipe

SMALL = {
    "tokens": 600,
    "tokens_a_step": 128,
    "rank": 2,
    "alpha": 4,
    "learning_rate": 0.01,
    "threads": 1,
    "save_every": 25,
}
#: Folders of the cache: experts put together, the student without teachers, and with them.
KINDS = ("group", "control", "student")


def recipe(texts: Path, method: str = "alm", level: str = "none", **settings: Any) -> FuseRecipe:
    return FuseRecipe.model_validate(
        {
            "strategy": "distill",
            "method": method,
            "level": level,
            "distill": SMALL | {"texts": (str(texts),)} | settings,
        }
    )


def built(machine: Any, wanted: FuseRecipe, output: Path, **options: Any) -> Any:
    plan, inputs = plan_distillation(machine, wanted)
    return execute_plan(machine, plan, inputs, output, **options)


def bits(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def scored(machine: Any, wanted: FuseRecipe) -> list[int]:
    """Tokens that the plan says each teacher reads."""
    plan, _ = plan_distillation(machine, wanted)
    return [stage.tokens for stage in plan.details.stages if stage.stage == "score"]


@pytest.mark.parametrize("method", [name for name in LOSSES if name != "kl"] + ["uld+alm"])
def test_every_loss_teaches(mixed: Any, texts: Path, shared_cache: Path, tmp_path: Path, method: str) -> None:
    """The result is a plain checkpoint, and neither the student before, nor the control, nor that of another loss."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    outcome = built(mixed, recipe(texts, method), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(outcome.folder)
    tokenizer = AutoTokenizer.from_pretrained(outcome.folder)
    assert torch.isfinite(model(**tokenizer("the grid", return_tensors="pt")).logits).all()
    made = {
        kind: [bits(file.parent) for file in shared_cache.glob(f"distill/{kind}-*/model.safetensors")] for kind in KINDS
    }
    assert len(made["control"]) == 1
    trained = made["control"] + made["student"]
    assert bits(outcome.folder) in made["student"]
    assert len(set(trained)) == len(trained)
    assert not set(trained) & set(made["group"])


def test_a_run_that_was_killed_goes_on_with_the_same_bits(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimiser, order of texts and the balance of the losses all go on where they were."""
    wanted = recipe(texts, "uld+alm", save_every=2)
    whole = built(mixed, wanted, tmp_path / "whole")
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "other cache"))

    class Killed(Exception):
        pass

    class Killer:
        """Dies in the middle of the lessons, after a checkpoint; never in the control."""

        def describe(self, label: str) -> None:
            if label.startswith("distilling: step 3"):
                raise Killed

        def advance(self, n: float = 1) -> None:
            pass

    with pytest.raises(Killed):
        built(mixed, wanted, tmp_path / "out", reporter=Killer())
    assert not (tmp_path / "out").exists()
    left = list((tmp_path / "other cache").glob("distill/student-*.steps/checkpoint-2"))
    assert len(left) == 1
    again = built(mixed, wanted, tmp_path / "out")
    assert bits(again.folder) == bits(whole.folder)
    assert not list((tmp_path / "other cache").glob("distill/*.steps"))


def test_teachers_and_control_are_kept(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second loss on the same texts loads no teacher and trains no control."""
    from cogen.fusion.distill import compose

    built(mixed, recipe(texts, "uld+alm"), tmp_path / "one")

    def reject(*_: Any) -> Any:
        raise AssertionError("a teacher was loaded")

    monkeypatch.setattr(compose, "load_expert", reject)
    described: list[str] = []

    class Listener:
        def describe(self, label: str) -> None:
            described.append(label)

        def advance(self, n: float = 1) -> None:
            pass

    built(mixed, recipe(texts, "uld+alm", strength=0.5), tmp_path / "two", reporter=Listener())
    assert not [label for label in described if "control" in label]
    assert [label for label in described if label.startswith("distilling")]


@pytest.mark.parametrize("mix", ["static", "best"])
def test_a_short_run_has_teachers_read_what_it_comes_to(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: str
) -> None:
    """The bits are those of teachers that read everything; plan and progress count what is read."""
    from cogen.fusion.distill.student import batches
    from cogen.fusion.distill.teachers.teacher import LocalTeacher

    heard: list[int] = []
    plain = LocalTeacher.score

    def score(self: Any, encoded: Any, wanted: Any) -> Any:
        heard.append(len(encoded))
        return plain(self, encoded, wanted)

    monkeypatch.setattr(LocalTeacher, "score", score)
    wanted = recipe(texts, "uld+alm", tokens=60, tokens_a_step=32, groups="apart", pivot="qq", mix=mix)
    few = built(mixed, wanted, tmp_path / "few")
    assert len(heard) == 2  # teachers
    assert max(heard) < 8  # of sixteen texts
    planned = [stage.tokens for stage in plan_distillation(mixed, wanted)[0].details.stages if stage.stage == "score"]
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "other cache"))
    monkeypatch.setattr(batches, "_WORTH", 1.0)
    everything = built(mixed, wanted, tmp_path / "everything")
    assert heard[2:] == [16, 16]
    assert [one < 0.6 * other for one, other in zip(planned, scored(mixed, wanted), strict=True)] == [True, True]
    assert bits(few.folder) == bits(everything.folder)


def test_pairwise_is_the_mean_of_the_single_runs(mixed: Any, texts: Path, shared_cache: Path, tmp_path: Path) -> None:
    """Three models, two of them teach: one run each, then the average of the two, by their weights."""
    from safetensors.torch import load_file

    wanted = recipe(texts, "uld", groups="apart", pivot="qq", arrangement="pairwise", mode="full")
    both = built(mixed, wanted, tmp_path / "both")
    one = built(mixed, wanted.model_copy(update={"experts": {"qq": 1.0, "aa": 1.0}}), tmp_path / "one")
    two = built(mixed, wanted.model_copy(update={"experts": {"qq": 1.0, "bb": 1.0}}), tmp_path / "two")
    found, a, b = (load_file(outcome.folder / "model.safetensors") for outcome in (both, one, two))
    assert any(not torch.equal(a[name], b[name]) for name in a)
    for name, tensor in found.items():
        wide = ((a[name].float() + b[name].float()) / 2).to(tensor.dtype)
        assert torch.equal(tensor, wide), name


@pytest.mark.parametrize("method", ["", "uld+alm"])
def test_micro_batches_sum_up_to_the_batch(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A sum is divided by what all micro-batches of a step hold, not each by its own (pitfall 16)."""
    from transformers import TrainingArguments

    from cogen.fusion.distill.compose import compose_group, teacher_of
    from cogen.fusion.distill.losses.balance import Balance
    from cogen.fusion.distill.losses.registry import needs_of
    from cogen.fusion.distill.run import DistillMethod, DistillRun, LoadedTeacher, _loss_terms, encoders, score
    from cogen.fusion.distill.student.corpus import Batches
    from cogen.fusion.distill.student.trainer import StudentTrainer

    monkeypatch.setattr(Balance, "scales", lambda self, logits, means, look, training=True: [1.0] * len(self.others))

    wanted = recipe(texts, mode="full")
    plan, inputs = plan_distillation(mixed, wanted)
    setup = DistillRun(
        compose_group(inputs.student), inputs.student.tokenizer, plan.tokenizer_digest, inputs.items, wanted.distill
    )
    encoder, encoded = encoders(setup)
    teachers = [LoadedTeacher("qq", teacher_of(inputs.teachers[0]))]
    views = [score(setup, teachers[0], needs_of(method))] if method else []
    terms = _loss_terms(encoder, encoded, teachers, views, DistillMethod(method)) if method else []
    batches = Batches(encoded, views, 0, wanted.distill)
    batches.order = [[0, 1, 2], [0], [1, 2]]
    arguments = TrainingArguments(output_dir=str(tmp_path / "run"), use_cpu=True, report_to=[])
    trainer = StudentTrainer(
        terms=terms,
        settings=wanted.distill,
        vocabulary=len(setup.tokenizer),
        model=setup.fresh(),
        args=arguments,
        train_dataset=batches,
    )
    whole, one, two = (batches[at] for at in range(3))
    (_, counts), (_, same) = (trainer.get_batch_samples(iter(part), len(part), "cpu") for part in ([whole], [one, two]))
    assert counts.tolist() == same.tolist()
    losses = [trainer.compute_loss(trainer.model, dict(part), num_items_in_batch=counts) for part in (whole, one, two)]
    torch.testing.assert_close(losses[1] + losses[2], losses[0], rtol=1e-5, atol=1e-6)


def test_the_report_compares_with_the_control(mixed: Any, texts: Path, shared_cache: Path, tmp_path: Path) -> None:
    """Rows for the pivot, every expert, the control and the composite; a sentence on the control in report and card."""
    from cogen.artifacts.summary import against_control

    outcome = built(mixed, recipe(texts, "alm", level="quick"), tmp_path / "out")
    matrix = outcome.matrix
    assert matrix is not None
    assert matrix.rows == ("base", "aa", "bb", "qq", "control", "composite")
    message = against_control(matrix)
    assert message is not None
    assert "control" in message
    report = (outcome.folder / "report.html").read_text()
    assert message.split(":")[0] in report
    assert "Control" in report
    card = (outcome.folder / "README.md").read_text()
    assert "control" in card
    assert [stage.stage for stage in outcome.lock.plan.details.stages[:3]] == ["compose", "score", "control"]


def test_a_lock_is_replayed(mixed: Any, texts: Path, shared_cache: Path, tmp_path: Path) -> None:
    """The same bits from nothing but lock and experts."""
    from cogen.artifacts.lock import read_lock
    from cogen.runs.replay import recipe_of

    first = built(mixed, recipe(texts), tmp_path / "first")
    lock = read_lock(first.folder)
    wanted = recipe_of(lock.plan, scale=lock.scale, parameters=lock.parameters)
    assert wanted.distill == recipe(texts).distill
    again = built(mixed, wanted, tmp_path / "again", replay=lock)
    assert bits(again.folder) == bits(first.folder)


def test_a_replay_that_gives_other_bits_writes_nothing(
    mixed: Any, texts: Path, shared_cache: Path, tmp_path: Path
) -> None:
    """What the docs promise for another machine: it says so."""
    from cogen.errors import PlanError

    first = built(mixed, recipe(texts), tmp_path / "first")
    digests = {name: "sha256:" + "0" * 64 for name in first.lock.files if name.endswith(".safetensors")}
    lock = first.lock.model_copy(update={"files": first.lock.files | digests})
    with pytest.raises(PlanError, match=r"not reproducible: model\.safetensors differs") as found:
        built(mixed, recipe(texts), tmp_path / "again", replay=lock)
    assert "threads" in (found.value.hint or "")
    assert not (tmp_path / "again").exists()

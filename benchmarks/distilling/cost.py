"""What a loss adds to the student's own forward and backward pass, with a teacher that was read before.

Twice: SmolLM2 (49,152 tokens) learns from Gemma (262,144), and Gemma from SmolLM2. The steps of all losses alternate
with steps of the plain loss, each batch beginning with another one, so that whatever else the machine does hits all.
Steps that measure the losses' gradients for the balance cost more than the others: the first four do and then one in
eight, so that counts for an eighth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilling.teachers import PLUGINS, gemma

_LOSSES = ("alm", "uld", "p_kl", "piece_kl", "h_kl", "graph", "gold", "mined", "uld+alm")
_LIMIT = 1.25


def documents(count: int) -> list[str]:
    """Samples that the clinical expert ships."""
    import json

    file = PLUGINS / "cogen-plugin-clinical" / "src" / "cogen_plugin_clinical" / "samples.jsonl"
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()][:count]


def models(work: Path) -> dict[str, tuple[Any, Any]]:
    """Name → checkpoint and tokenizer."""
    from cogen.checkpoints.bases import BASES
    from cogen.checkpoints.gguf import converted
    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.model import open_folder, open_weights
    from distilling.teachers import SHA256

    small = open_weights(BASES["smollm2-135m-instruct"][0])
    large = open_folder(converted(gemma(work), f"sha256:{SHA256}", "bfloat16", print))
    return {"SmolLM2": (small, load_tokenizer(small.folder)), "Gemma": (large, load_tokenizer(large.folder))}


def ratios(
    student: Any, own: Any, teacher: Any, other: Any, losses: Sequence[str], steps: int, work: Path
) -> tuple[dict[str, list[float]], list[bool]]:
    """Loss → seconds of its steps, "" → of the plain ones; and which of them measured gradients."""
    from transformers import TrainingArguments

    from cogen.checkpoints.load import load_model
    from cogen.evals import model_digest
    from cogen.fusion.distill.losses.registry import make_loss, needs_of
    from cogen.fusion.distill.run import DistillRun, LoadedTeacher, encoders, score
    from cogen.fusion.distill.settings import Distillation
    from cogen.fusion.distill.student.corpus import Batches
    from cogen.fusion.distill.student.trainer import LossTerm, StudentTrainer
    from cogen.fusion.distill.teachers.teacher import LocalTeacher
    from cogen.fusion.distill.texts import Item
    from cogen.training.adapters import trainable

    settings = Distillation(tokens=steps * 512, tokens_a_step=512, max_length=256)
    setup = DistillRun(student, own, "own", [Item(text) for text in documents(3 * steps)], settings)
    loaded = LoadedTeacher(
        "teacher", LocalTeacher(lambda: load_model(teacher, "bfloat16"), other, model_digest(teacher))
    )
    encoder, texts = encoders(setup)
    wanted = needs_of("alm+uld+p_kl")
    view = score(setup, loaded, wanted)
    batches = Batches(texts, [view], setup.padding, settings)
    model = trainable(setup.fresh(), "lora", settings.rank, settings.alpha).train()
    arguments = TrainingArguments(output_dir=str(work / "unused"), report_to=[], use_cpu=True, bf16=True)
    sides = encoder, loaded.model.encoder
    trainers = {
        name: StudentTrainer(
            terms=[LossTerm(loss, 0) for loss in make_loss(name, *sides)] if name else [],
            settings=settings,
            vocabulary=len(own),
            model=model,
            args=arguments,
            train_dataset=batches,
        )
        for name in ("", *losses)
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    looked = []
    for at in range(min(steps, len(batches))):
        batch = batches[at]
        if at:
            looked.append(trainers[losses[0]].balance.measures)
        order = list(trainers)
        for name in order[at % len(order) :] + order[: at % len(order)]:
            trainer = trainers[name]
            began = time.perf_counter()
            with trainer.accelerator.autocast():
                loss = trainer.compute_loss(model, dict(batch))
            loss.backward()
            trainer.balance.settle()
            model.zero_grad(set_to_none=True)
            if at:  # the first one warms up
                seconds[name].append(time.perf_counter() - began)
    return seconds, looked


def cost(arguments: argparse.Namespace) -> dict[str, Any]:
    """The table; missed: losses that add more than a quarter.

    The first step warms up, and the three after it measure.
    """
    from cogen.fusion.distill.losses.balance import EVERY

    if arguments.steps < 6:
        raise SystemExit("fewer than 6 steps hold none that does not measure gradients; try --steps 17")
    known = models(arguments.work)
    found: dict[str, Any] = {"missed": [], "rows": {}}
    print("| student | loss | step against the plain loss | that measures (n) | that does not (n) | spread |")
    print("|---|---|---|---|---|---|")
    for name, other in (("SmolLM2", "Gemma"), ("Gemma", "SmolLM2")):
        losses = arguments.losses or _LOSSES
        seconds, looked = ratios(*known[name], *known[other], losses, arguments.steps, arguments.work)
        plain = seconds.pop("")
        found["rows"][f"{name}, plain"] = {"seconds": plain, "measured": looked}
        for loss, own in seconds.items():
            each = [a / b for a, b in zip(own, plain, strict=True)]
            sides = [
                [ratio for ratio, look in zip(each, looked, strict=True) if look == side] for side in (True, False)
            ]
            looking, still = (statistics.median(side) for side in sides)
            middle = (looking + (EVERY - 1) * still) / EVERY
            found["rows"][f"{name}, {loss}"] = {"ratio": middle, "looking": looking, "still": still, "all": each}
            apart = " | ".join(f"{statistics.median(side):.2f} ({len(side)})" for side in sides)
            print(f"| {name} | {loss} | {middle:.2f} | {apart} | {min(each):.2f} to {max(each):.2f} |", flush=True)
            if middle > _LIMIT:
                found["missed"].append(f"{name}, {loss}")
    return found

"""Our side beside TRL's GOLD: one student, one teacher, one loss; writes its figures as JSON.

    COGEN_CACHE=EMPTY python gold_own.py STUDENT TEACHER TEXTS RESULT STEPS THREADS LOSS

The cache has to be empty, so that the teacher reads every text here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Score all texts, then train for STEPS steps of two; seconds of the former and when each of the latter ended."""
    student, teacher, texts, result, steps, threads, name = sys.argv[1:]
    from cogen.checkpoints.load import load_model, load_tokenizer
    from cogen.checkpoints.model import open_folder
    from cogen.evals import model_digest
    from cogen.fusion.distill.losses.registry import make_loss, needs_of
    from cogen.fusion.distill.run import DistillRun, LoadedTeacher, encoders, score
    from cogen.fusion.distill.settings import Distillation
    from cogen.fusion.distill.student.corpus import Batches
    from cogen.fusion.distill.student.trainer import LossTerm, train_student
    from cogen.fusion.distill.teachers.teacher import LocalTeacher
    from cogen.fusion.distill.texts import read_items
    from cogen.training.trainer import set_threads

    set_threads(int(threads))
    items = read_items(Path(texts))
    settings = Distillation(
        tokens=1_000_000, tokens_a_step=512, max_length=256, threads=int(threads), save_every=1_000_000
    )
    checkpoint, other = open_folder(Path(student)), open_folder(Path(teacher))
    setup = DistillRun(checkpoint, load_tokenizer(checkpoint.folder), "own", items, settings)
    tokenizer = load_tokenizer(other.folder)
    began = time.perf_counter()  # the digest, the teacher's loading and the writing of its cache are counted
    loaded = LoadedTeacher(
        "teacher", LocalTeacher(lambda: load_model(other, "bfloat16"), tokenizer, model_digest(other))
    )
    view = score(setup, loaded, needs_of(name))
    scoring = time.perf_counter() - began

    encoder, encoded = encoders(setup)
    batches = Batches(encoded, [view], setup.padding, settings)
    batches.order = batches.order[: int(steps)]
    terms = [LossTerm(loss, 0) for loss in make_loss(name, encoder, loaded.model.encoder)]
    ends: list[float] = []

    def report(_: Any) -> None:
        ends.append(time.perf_counter())

    model = train_student(
        setup.fresh(), batches, terms, settings, Path(result).with_suffix(".run"), report, encoder.size
    )
    learned = [len(text.ids) - text.start for text in encoded]
    found = {
        "ends": ends,
        "tokens": [sum(learned[index] for index in part) for part in batches.order],
        "scoring": scoring,
        "scored": sum(learned),
        "trained": sum(x.numel() for x in model.parameters() if x.requires_grad),
    }
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

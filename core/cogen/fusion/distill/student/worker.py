"""One process of a launcher (:mod:`.launch`): ``python -m cogen.fusion.distill.student.worker JOB``."""

from __future__ import annotations

import sys

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.fusion.distill.student.launch import Job, training_dtype
from cogen.training.launch import run_worker, save_trained, send_step


def train(job: Job) -> None:
    """Train, and leave what was trained in ``job.trained``: an adapter, or a whole model."""
    from cogen.fusion.distill.student.trainer import finish_training

    model = load_model(open_folder(job.student), training_dtype(job.settings), device="cpu")
    trainer = finish_training(job.make, model, job.batches, job.settings, job.run, send_step)
    save_trained(trainer, job.trained)


if __name__ == "__main__":
    sys.exit(run_worker(train))

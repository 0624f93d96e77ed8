"""One process of a launcher (:mod:`.launch`): ``python -m cogen.forge.worker JOB``."""

from __future__ import annotations

import sys

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.forge.launch import TrainingJob, base_dtype
from cogen.training.launch import run_worker, save_trained, send_step


def train(job: TrainingJob) -> None:
    """Train, and leave what was trained in ``job.trained``: an adapter, or a whole model."""
    from cogen.forge.train import finish_training

    model = load_model(open_folder(job.base), base_dtype(job.training), device="cpu")
    trainer = finish_training(model, job.blocks, job.training, job.run, send_step, home=job.home, tracking=job.tracking)
    save_trained(trainer, job.trained)


if __name__ == "__main__":
    sys.exit(run_worker(train))

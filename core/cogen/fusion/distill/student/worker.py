"""One process of a launcher (:mod:`.launch`): ``python -m cogen.fusion.distill.student.worker JOB``."""

from __future__ import annotations

import json
import os
import pickle
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import CogenError, UsageError
from cogen.fusion.distill.student.launch import MARK, Job, training_dtype
from cogen.training.trainer import StepProgress


def send(message: dict[str, Any]) -> None:
    """To the process that started the launcher."""
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


def train(job: Job) -> None:
    """Train, and leave what was trained in ``job.trained``: an adapter, or a whole model."""
    from cogen.fusion.distill.student.trainer import finish_training

    def on_step(step: StepProgress) -> None:
        if int(os.environ.get("RANK", "0")) == 0:  # the others have the same steps
            send(asdict(step))

    model = load_model(open_folder(job.student), training_dtype(job.settings), device="cpu")
    trainer = finish_training(job.make, model, job.batches, job.settings, job.run, on_step)
    # FSDP spreads weights over the processes, and here all of them are wanted, whatever its checkpoints look like.
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    trainer._save(str(job.trained), state)  # the first process writes
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def main() -> int:
    """
    :returns: exit code; a user's mistake is sent to the process that waits.
    """
    try:
        train(pickle.loads(Path(sys.argv[1]).read_bytes()))
    except CogenError as error:
        # By whoever finds it first: a launcher then stops the others.
        send({"usage": isinstance(error, UsageError), "message": error.message, "hint": error.hint})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

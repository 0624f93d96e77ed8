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


def tell(said: dict[str, Any]) -> None:
    """To the process that started the launcher; the first process speaks for all."""
    if int(os.environ.get("RANK", "0")) == 0:
        sys.stdout.write(f"{MARK}{json.dumps(said)}\n")
        sys.stdout.flush()


def work(job: Job) -> None:
    """Train, and leave what was trained in ``job.cached_training``: an adapter, or a whole model."""
    from cogen.fusion.distill.student.trainer import cached_training

    def report(progress: StepProgress) -> None:
        tell(asdict(progress))

    model = load_model(open_folder(job.pivot), training_dtype(job.wish))
    trainer = cached_training(job.make, model, job.batches, job.wish, job.run, report)
    # FSDP spreads weights over the processes, and here all of them are wanted, whatever its checkpoints look like.
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    trainer._save(str(job.trained), state)  # the first process writes
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def main() -> int:
    """
    :returns: exit code; a mistake of the user's is told to the process that waits.
    """
    try:
        work(pickle.loads(Path(sys.argv[1]).read_bytes()))
    except CogenError as error:
        tell({"usage": isinstance(error, UsageError), "message": error.message, "hint": error.hint})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

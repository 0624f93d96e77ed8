"""Distillation on several devices or machines: see :mod:`cogen.training.launch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.training import launch as launching
from cogen.training.launch import MARK, command, launcher
from cogen.training.trainer import OnStep, quiet_trainer

if TYPE_CHECKING:
    from cogen.fusion.distill.settings import Distillation

__all__ = ["MARK", "Job", "command", "launch_training", "launcher", "training_dtype"]


@dataclass(frozen=True)
class Job:
    """What a worker does. It is pickled for the worker alone, in the user's own cache.

    :param make: options of the Trainer → Trainer; ``batches``: its dataset.
    :param student: folder of the model; ``run``: of the checkpoints; ``trained``: of what is left in the end.
    """

    make: Any
    batches: Any
    settings: Distillation
    student: Path
    run: Path
    trained: Path


def training_dtype(settings: Distillation) -> str:
    """In which type the student is loaded: in float32 where all of it is trained."""
    return "float32" if settings.mode == "full" else "bfloat16"


def launch_training(
    make: Any, student: Checkpoint, batches: Any, settings: Distillation, run: Path, on_step: OnStep
) -> Any:
    """What :func:`~cogen.fusion.distill.student.trainer.run_trainer` returns, trained by the launcher's processes.

    :raises UsageError: the launcher can't be started.
    :raises TrainError: a process failed; its last error line is the message.
    """
    with launching.job_folder(run) as folder:
        job = Job(make, batches, settings, student.folder, run, folder / "trained")
        launching.launch("cogen.fusion.distill.student.worker", job, folder, on_step)
        return _load_result(job, student)


def _load_result(job: Job, student: Checkpoint) -> Any:
    """The student with what was trained."""
    from cogen.training.adapters import go_on_from, trainable

    settings = job.settings
    if settings.mode == "full":
        return load_model(open_folder(job.trained), "float32", device="cpu").eval()
    with quiet_trainer():
        model = trainable(
            load_model(student, training_dtype(settings), device="cpu"), settings.mode, settings.rank, settings.alpha
        )
        go_on_from(model, job.trained, settings.alpha)
    return model.eval()

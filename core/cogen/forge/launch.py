"""Training an expert on several devices or machines: see :mod:`cogen.training.launch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.forge.blocks import Blocks
from cogen.forge.recipe import TrainingRecipe
from cogen.forge.train import UNTRACKED, Tracking, trainable
from cogen.training import launch as launching
from cogen.training.adapters import go_on_from
from cogen.training.launch import launcher
from cogen.training.trainer import OnStep, quiet_trainer

if TYPE_CHECKING:
    from cogen.reporter import Reporter


@dataclass(frozen=True)
class TrainingJob:
    """What a worker does. It is pickled for the worker alone, in the user's own cache.

    :param base: folder of the model; ``run``: of the checkpoints; ``trained``: of what is left in the end.
    """

    blocks: Blocks
    training: TrainingRecipe
    base: Path
    run: Path
    trained: Path
    home: Path
    tracking: Tracking


def uses_launcher(training: TrainingRecipe, reporter: Reporter) -> bool:
    """Whether the user's launcher trains this; a mode that it cannot train is trained here, and that is said."""
    if not launcher():
        return False
    if training.mode == "anchored" or training.privacy is not None:
        what = "with `privacy`" if training.privacy is not None else "of mode anchored"
        reporter.note(f"COGEN_LAUNCH does not serve a training {what}: it runs in this process alone")
        return False
    return True


def base_dtype(training: TrainingRecipe) -> str:
    """In which type the base is loaded: in float32 where all of it is trained."""
    return "float32" if training.mode == "full" else "bfloat16"


def launch_training(
    base: Checkpoint,
    blocks: Blocks,
    training: TrainingRecipe,
    run: Path,
    on_step: OnStep,
    home: Path = Path(),
    tracking: Tracking = UNTRACKED,
) -> Any:
    """What :func:`cogen.forge.train.train` returns, trained by the launcher's processes.

    :raises UsageError: the launcher can't be started, or cannot share out the batches of a step.
    :raises TrainError: a process failed; its last error line is the message.
    """
    with launching.job_folder(run) as folder:
        job = TrainingJob(blocks, training, base.folder, run, folder / "trained", home, tracking)
        launching.launch("cogen.forge.worker", job, folder, on_step)
        if training.mode == "full":
            return load_model(open_folder(job.trained), "float32", device="cpu").eval()
        with quiet_trainer():
            model = trainable(load_model(base, base_dtype(training), device="cpu"), training, home)
            go_on_from(model, job.trained, training.alpha)
        return model.eval()

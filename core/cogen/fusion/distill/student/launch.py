"""Training on several devices or machines: a launcher of the user's starts one process for each.

``COGEN_LAUNCH="accelerate launch --config_file fsdp.yaml" cogen fuse …``: everything but the training stays in this
process; the launcher runs :mod:`.worker` in as many processes as it is configured for. On several machines
these share the cache folder. It is an environment variable and not a field of the recipe, because it is a command:
plans and locks come from others.
"""

from __future__ import annotations

import json
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.errors import CogenError, TrainError, UsageError
from cogen.settings import settings
from cogen.training.trainer import OnStep, StepProgress, quiet_trainer

if TYPE_CHECKING:
    from cogen.fusion.distill.settings import Distillation

#: Begins the lines of the worker's stdout that are for this process; a launcher may write there, too.
MARK = "cogen-worker "
#: Other lines of its output that are kept, and how the last one of a traceback begins.
_TAIL = 200
_ERROR = re.compile(r"(^|: )\w+(\.\w+)*(Error|Exception): .")


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


def launcher() -> str:
    """The user's command; empty: train in this process."""
    return settings().launch


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
    folder = run.with_name(f"{run.name}.job")
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(make, batches, settings, student.folder, run, folder / "trained")
    try:
        (folder / "job.pickle").write_bytes(pickle.dumps(job))
        for step in _follow([*command(), "-m", "cogen.fusion.distill.student.worker", str(folder / "job.pickle")]):
            on_step(step)
        return _load_result(job, student)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def command() -> list[str]:
    """The launcher's words; ``accelerate`` and ``torchrun`` are those of this environment.

    :raises UsageError: no command.
    """
    try:
        words = shlex.split(launcher())
    except ValueError as error:
        raise UsageError(f"COGEN_LAUNCH is not a valid command: {error}", hint='such as "accelerate launch"') from error
    beside = Path(sys.executable).parent / words[0]
    found = str(beside) if beside.is_file() else shutil.which(words[0])
    if found is None:
        raise UsageError(f"COGEN_LAUNCH: command not found: {words[0]}", hint='such as "accelerate launch"')
    return [found, *words[1:]]


def _follow(words: list[str]) -> Iterator[StepProgress]:
    """The progress of the first process, until all have ended."""
    failure: dict[str, Any] = {}
    tail: list[str] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                # Another process may have written half a line before this one.
                _, mark, own = line.rpartition(MARK)
                if not mark:
                    tail = [*tail, line.strip()][-_TAIL:]
                    continue
                message = json.loads(own)
                if "step" in message:
                    yield StepProgress(**message)
                else:
                    failure = message
        except BaseException:
            child.terminate()  # launchers pass it on to their processes
            raise
    if failure:
        raise _error(failure)
    if child.returncode:
        # A process's own error stands before what the launcher makes of it.
        last = next((line for line in tail if _ERROR.search(line)), tail[-1] if tail else "no output")
        raise TrainError(
            f"training ended with exit code {child.returncode}: {last[:300]}",
            hint="run the same command again: it goes on at its last checkpoint; or unset COGEN_LAUNCH",
        )


def _error(message: dict[str, Any]) -> CogenError:
    return (UsageError if message["usage"] else TrainError)(message["message"], hint=message["hint"])


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

"""Training on several devices or machines: a launcher of the user's starts one process for each.

``COGEN_LAUNCH="accelerate launch --config_file fsdp.yaml" cogen fuse …``: everything but the training stays in this
process; the launcher runs :mod:`.worker` in as many processes as it is told to. On several machines
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
from cogen.training.trainer import Report, StepProgress, quiet_trainer

if TYPE_CHECKING:
    from cogen.fusion.distill.settings import Distillation

#: Begins the lines of the worker's stdout that are for us; a launcher may write there, too.
MARK = "cogen-worker "
#: Lines that are kept of what else it says, and how the last one of a traceback begins.
_TAIL = 200
_ERROR = re.compile(r"(^|: )\w+(\.\w+)*(Error|Exception): .")


@dataclass(frozen=True)
class Job:
    """What a worker does. It is pickled by us, for us, in our own cache, and read by nobody else.

    :param make: options of the Trainer → Trainer; ``batches``: its dataset.
    :param pivot: folder of the model; ``run``: of the checkpoints; ``trained``: of what is left in the end.
    """

    make: Any
    batches: Any
    wish: Distillation
    pivot: Path
    run: Path
    trained: Path


def launcher() -> str:
    """The user's command; empty: train in this process."""
    return settings().launch


def training_dtype(wish: Distillation) -> str:
    """In which type the pivot is loaded: in float32 where all of it is trained."""
    return "float32" if wish.mode == "full" else "bfloat16"


def launched(make: Any, pivot: Checkpoint, batches: Any, wish: Distillation, run: Path, report: Report) -> Any:
    """What :func:`~cogen.fusion.distill.student.trainer.run_trainer` returns, trained by the launcher's processes.

    :raises UsageError: the launcher can't be started.
    :raises TrainError: a process failed; what it said last is the message.
    """
    folder = run.with_name(f"{run.name}.job")
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(make, batches, wish, pivot.folder, run, folder / "trained")
    try:
        (folder / "job.pickle").write_bytes(pickle.dumps(job))
        for progress in _followed(
            [*command(), "-m", "cogen.fusion.distill.student.worker", str(folder / "job.pickle")]
        ):
            report(progress)
        return _loaded(job, pivot)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def command() -> list[str]:
    """The launcher's words; ``accelerate`` and ``torchrun`` are those of this environment.

    :raises UsageError: no command.
    """
    try:
        words = shlex.split(launcher())
    except ValueError as error:
        raise UsageError(f"COGEN_LAUNCH is no command: {error}", hint='such as "accelerate launch"') from error
    beside = Path(sys.executable).parent / words[0]
    found = str(beside) if beside.is_file() else shutil.which(words[0])
    if found is None:
        raise UsageError(f"COGEN_LAUNCH: there is no command {words[0]}", hint='such as "accelerate launch"')
    return [found, *words[1:]]


def _followed(words: list[str]) -> Iterator[StepProgress]:
    """The progress of the first process, until all have ended."""
    told: dict[str, Any] = {}
    tail: list[str] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                # Another process may have written half a line before ours.
                _, mark, ours = line.rpartition(MARK)
                if not mark:
                    tail = [*tail, line.strip()][-_TAIL:]
                    continue
                said = json.loads(ours)
                if "step" in said:
                    yield StepProgress(**said)
                else:
                    told = said
        except BaseException:
            child.terminate()  # launchers pass it on to their processes
            raise
    if told:
        raise _error(told)
    if child.returncode:
        # A process's own error stands before what the launcher makes of it.
        last = next((line for line in tail if _ERROR.search(line)), tail[-1] if tail else "it said nothing")
        raise TrainError(
            f"training ended with exit code {child.returncode}: {last[:300]}",
            hint="run the same command again: it goes on at its last checkpoint; or unset COGEN_LAUNCH",
        )


def _error(said: dict[str, Any]) -> CogenError:
    return (UsageError if said["usage"] else TrainError)(said["message"], hint=said["hint"])


def _loaded(job: Job, pivot: Checkpoint) -> Any:
    """The pivot with what was trained."""
    from cogen.training.adapters import go_on_from, trainable

    wish = job.wish
    if wish.mode == "full":
        return load_model(open_folder(job.trained), "float32").eval()
    with quiet_trainer():
        model = trainable(load_model(pivot, training_dtype(wish)), wish.mode, wish.rank, wish.alpha)
        go_on_from(model, job.trained, wish.alpha)
    return model.eval()

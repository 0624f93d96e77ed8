"""Training on several devices or machines: a launcher of the user's starts one process for each.

``COGEN_LAUNCH="accelerate launch --config_file fsdp.yaml" cogen train …`` (or ``cogen fuse …`` with a distillation):
everything but the training stays in this process; the launcher runs a worker in as many processes as it is configured
for. On several machines these share the cache folder. It is an environment variable and not a field of the recipe,
because it is a command: recipes, plans and locks come from others.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cogen.errors import CogenError, TrainError, UsageError
from cogen.settings import settings
from cogen.training.trainer import OnStep, StepProgress

#: Begins the lines of the worker's stdout that are for this process; a launcher may write there, too.
MARK = "cogen-worker "
#: Other lines of its output that are kept, and how the last one of a traceback begins.
_TAIL = 200
_ERROR = re.compile(r"(^|: )\w+(\.\w+)*(Error|Exception): .")
_JOB = "job.pickle"


def launcher() -> str:
    """The user's command; empty: train in this process."""
    return settings().launch


@contextlib.contextmanager
def job_folder(run: Path) -> Iterator[Path]:
    """A folder beside the run for what passes between this process and the worker, for the length of a ``with``."""
    folder = run.with_name(f"{run.name}.job")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def launch(module: str, job: Any, folder: Path, on_step: OnStep) -> None:
    """Run ``module`` in the launcher's processes; each gets ``job`` by :func:`run_worker`.

    :param job: pickled for the worker alone, in the user's own cache.
    :raises UsageError: the launcher can't be started.
    :raises TrainError: a process failed; its last error line is the message.
    """
    words = command()
    try:
        packed = pickle.dumps(job)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the launcher's processes cannot be given this training: {error}",
            hint="callbacks have to be classes of an importable module; or unset COGEN_LAUNCH",
        ) from error
    (folder / _JOB).write_bytes(packed)
    for step in follow([*words, "-m", module, str(folder / _JOB)]):
        on_step(step)


def run_worker(train: Callable[[Any], None]) -> int:
    """``main`` of a worker's module.

    :param train: is given the job.
    :returns: exit code; a user's mistake is sent to the process that waits.
    """
    try:
        train(pickle.loads(Path(sys.argv[1]).read_bytes()))
    except CogenError as error:
        # By whoever finds it first: a launcher then stops the others.
        send({"usage": isinstance(error, UsageError), "message": error.message, "hint": error.hint})
        return 1
    return 0


def send(message: dict[str, Any]) -> None:
    """To the process that started the launcher."""
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


def send_step(step: StepProgress) -> None:
    """The first process's; the others have the same steps."""
    if int(os.environ.get("RANK", "0")) == 0:
        send(asdict(step))


def save_trained(trainer: Any, folder: Path) -> None:
    """In the worker, after the training: an adapter, or a whole model, written by the first process."""
    # FSDP spreads weights over the processes, and here all of them are wanted, whatever its checkpoints look like.
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    trainer._save(str(folder), state)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def share_out(batches: int, field: str) -> int:
    """Batches of a step that each of the launcher's processes computes.

    :param field: of the recipe, for the hint.
    :raises UsageError: they can't be shared out evenly.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if batches % processes:
        raise UsageError(
            f"{processes} processes can't share the {batches} batches of a step evenly",
            hint=f"{field} = {-(-batches // processes) * processes}",
        )
    return batches // processes


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


def follow(words: list[str]) -> Iterator[StepProgress]:
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

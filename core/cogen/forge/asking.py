"""After a training: does the expert still answer plain questions, as its base does?"""

from __future__ import annotations

import functools
from pathlib import Path

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import SuiteResult, model_digest, run_chat
from cogen.forge.build import PreparedTraining
from cogen.reporter import SILENT, Reporter

#: What both models answer in: what `cogen eval` uses too.
DTYPE = "bfloat16"


def ask(
    prepared: PreparedTraining, result: Path, reporter: Reporter = SILENT
) -> tuple[SuiteResult, SuiteResult] | None:
    """Base and expert on the quick questions of the chat suite; ``None`` if the base has no chat template.

    :param result: the folder that :func:`cogen.forge.build.run_training` returned.
    """
    base = prepared.base
    if prepared.recipe.training.mode == "full":
        expert = open_folder(result)
    else:
        expert = Checkpoint(base.folder, base.tensors, read_adapter(result))
    found = []
    for checkpoint in (base, expert):
        one = run_chat(
            functools.partial(load_model, checkpoint, DTYPE),
            prepared.tokenizer,
            model_digest=model_digest(checkpoint),
            tokenizer_digest=tokenizer_digest(prepared.tokenizer),
            level="quick",
            dtype=DTYPE,
            reporter=reporter,
        )
        if one is None:
            return None
        found.append(one)
    return found[0], found[1]

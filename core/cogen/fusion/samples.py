"""The texts that experts ship for routing and calibration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cogen.checkpoints.digests import check_file
from cogen.errors import CompatibilityError

if TYPE_CHECKING:
    from cogen.host import Expert


def sample_texts(expert: Expert) -> list[str]:
    """The expert's samples.

    :raises CompatibilityError: it ships none, or only their embedding.
    """
    samples = expert.spec.samples
    if samples is None or samples.path is None:
        raise CompatibilityError(
            f"{expert.id} ships no sample text, which this method measures layer inputs on",
            hint="choose a method that needs no data, e.g. task_arithmetic",
        )
    path = expert.root / samples.path
    check_file(path, samples.digest, f"the samples of {expert.id}")
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

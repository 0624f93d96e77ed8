"""Runs mergekit inside its own environment: many recipes in one process, to pay for its imports once.

    python peer_worker.py JOBS.json RESULTS.json

JOBS: a list of {"recipe": text of the YAML, "out": folder, "options": fields of mergekit's MergeOptions}. RESULTS: one
{"error": null or text, "warnings": lines that it logged} a job. Knows nothing of the benchmark, imports only mergekit.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any


class Lines(logging.Handler):
    """Keeps what is logged at WARNING and above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def run(job: dict[str, Any], log: Lines) -> dict[str, Any]:
    """One recipe, through the functions that `mergekit-yaml` itself calls."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    log.lines.clear()
    try:
        LoaderCache().loaders.clear()  # one a class, so it would keep the files of earlier jobs open
        options = MergeOptions(**({"quiet": True} | job["options"]))
        run_merge(MergeConfiguration.model_validate(yaml.safe_load(job["recipe"])), job["out"], options, job["recipe"])
    except Exception as error:  # noqa: BLE001 - what a recipe fails with is a result
        last = traceback.extract_tb(error.__traceback__)[-1]
        return {"error": f"{type(error).__name__}: {error} ({Path(last.filename).name})", "warnings": log.lines[:]}
    return {"error": None, "warnings": log.lines[:]}


def main() -> None:
    log = Lines()
    logging.getLogger().addHandler(log)
    results = [run(job, log) for job in json.loads(Path(sys.argv[1]).read_text())]
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()

"""Log-probabilities of a model folder by mlx-lm; as ``transformers_reader.py``."""

import json
import sys
import traceback
from importlib.metadata import version
from pathlib import Path

import numpy as np


def read(job: dict) -> dict:
    """Load, run once, write the figures."""
    import mlx.core as mx
    from mlx_lm import load

    model, tokenizer = load(job["folder"])
    model.set_dtype(mx.float32)
    logits = model(mx.array([job["ids"]]))[0]
    np.save(job["out"], np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True)))
    return {"tokens": list(tokenizer.encode(job["text"]))}


def main() -> None:
    """One answer for each job."""
    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            found = read(job)
        except Exception as error:  # noqa: BLE001 (whatever an engine raises is its answer)
            found = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        Path(f"{job['out']}.json").write_text(json.dumps(found | {"version": version("mlx-lm")}))


if __name__ == "__main__":
    main()

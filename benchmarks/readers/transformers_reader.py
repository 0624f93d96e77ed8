"""Log-probabilities of a model folder by transformers, in whatever version this interpreter has; peft on top if asked.

    python transformers_reader.py JOBS.json

JOBS: a list of ``{"folder", "ids", "out", "text", "adapter"}``; ``out`` gets float32 of shape (tokens, vocabulary), and
beside it ``.json`` with what is to be reported: how the tokenizer splits ``text``, or the error.
"""

import json
import sys
import traceback
from pathlib import Path

import numpy as np


def read(job: dict) -> dict:
    """Load, run once, write the figures; every warning of a missing or left-over weight is an error here."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, info = AutoModelForCausalLM.from_pretrained(
        job["folder"], torch_dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    left = {name: sorted(map(str, info[name])) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    # The tied head of a model has no tensor of its own.
    left["missing_keys"] = [name for name in left["missing_keys"] if name != "lm_head.weight"]
    if any(left.values()):
        raise ValueError(f"weights do not fit: {left}")
    if job.get("adapter"):
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, job["adapter"])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([job["ids"]])).logits[0].float()
    np.save(job["out"], torch.log_softmax(logits.double(), -1).float().numpy())
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    given = tokenizer(job["text"], return_tensors="pt")
    model.generate(**given, max_new_tokens=1)  # refuses inputs that the model does not take
    return {"class": type(model).__name__, "tokens": given["input_ids"][0].tolist()}


def main() -> None:
    """One answer for each job."""
    import transformers

    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            found = read(job)
        except Exception as error:  # noqa: BLE001 (whatever an engine raises is its answer)
            found = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        Path(f"{job['out']}.json").write_text(json.dumps(found | {"version": transformers.__version__}))


if __name__ == "__main__":
    main()

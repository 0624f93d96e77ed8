"""Speed of exports beside the composite that they were made of, in one run: prompt and generation, tokens a second.

    cogen export composite --to fp8                          # and int8, onnx, gguf:Q8_0, gguf:Q4_K_M
    python benchmarks/export_speed.py composite composite-fp8 composite-gguf-q8_0 composite-gguf-q4_k_m

Model folders (safetensors, FP8, INT8) run in transformers in bfloat16, GGUF files in llama.cpp, ONNX graphs in ONNX
Runtime in float32, all with --threads threads and one sequence. A round goes through all models; the figure of a model
is that of its fastest round. CPU seconds are those of this process, and do not count what others do on the machine. The
ratio is to the first model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPT = "The voltage at every node of the grid is measured, and the operator compares it with the plan. "

#: Runs a number of prompt tokens and generates a number of others, given (ids, new): seconds of both, by the clock and
#: of the CPU.
Runner = Callable[[list[int], int], tuple[float, float, float, float]]


@dataclass
class Speed:
    """Tokens a second of the prompt and of generation, by the clock and by CPU time; bytes of the weights."""

    model: str
    bytes: int
    prompt: float = 0.0
    prompt_cpu: float = 0.0
    generation: float = 0.0
    generation_cpu: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--new", type=int, default=48, help="tokens to generate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    ids = _prompt(arguments.models[0], arguments.prompt)
    runners = {path: _runner(path, arguments) for path in arguments.models}
    speeds = {path: Speed(path.name, _bytes(path)) for path in arguments.models}
    for _ in range(arguments.rounds):
        for path, run in runners.items():
            _keep(speeds[path], run(ids, arguments.new), len(ids), arguments.new)
    first = speeds[arguments.models[0]]
    for speed in speeds.values():
        print(
            f"{speed.model:28} {speed.bytes / 1e6:8.1f} MB  prompt {speed.prompt:7.1f} tokens/s "
            f"({speed.prompt_cpu / first.prompt_cpu:.2f}x CPU)  generation {speed.generation:6.1f} tokens/s "
            f"({speed.generation_cpu / first.generation_cpu:.2f}x CPU, {1 / speed.generation_cpu:.4f} CPU s a token)"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(speed) for speed in speeds.values()], indent=2) + "\n")
    return 0


def _keep(speed: Speed, found: tuple[float, float, float, float], prompt: int, new: int) -> None:
    """The fastest of each."""
    rates = (prompt / found[0], prompt / found[1], new / found[2], new / found[3])
    names = ("prompt", "prompt_cpu", "generation", "generation_cpu")
    for name, rate in zip(names, rates, strict=True):
        setattr(speed, name, max(getattr(speed, name), rate))


def _prompt(model: Path, length: int) -> list[int]:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(PROMPT * length)["input_ids"]
    return [int(id) for id in ids[:length]]


def _bytes(path: Path) -> int:
    kinds = ("*.safetensors", "*.gguf", "*.onnx", "*.onnx.data")
    return sum(file.stat().st_size for kind in kinds for file in path.glob(kind))


def _runner(path: Path, arguments: argparse.Namespace) -> Runner:
    if files := sorted(path.glob("*.gguf")):
        return _llama(files[0], arguments)
    if (graph := path / "model.onnx").is_file():
        return _onnx(graph, arguments)
    return _transformers(path)


def _transformers(path: Path) -> Runner:
    import torch
    from transformers import AutoModelForCausalLM

    with contextlib.redirect_stderr(io.StringIO()):
        kind: Any = AutoModelForCausalLM
        model = kind.from_pretrained(path, dtype=torch.bfloat16).eval()
        with torch.no_grad():
            model(torch.zeros(1, 1, dtype=torch.long))  # FP8 and INT8 are decompressed by the first call

    def run(ids: list[int], new: int) -> tuple[float, float, float, float]:
        with torch.no_grad():
            start = time.perf_counter(), time.process_time()
            out = model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
            middle = time.perf_counter(), time.process_time()
            for _ in range(new):
                token = out.logits[:, -1:].argmax(-1)
                cache = getattr(out, "cache", None) or out.past_key_values
                name = "cache" if hasattr(out, "cache") else "past_key_values"
                out = model(token, use_cache=True, **{name: cache})
            end = time.perf_counter(), time.process_time()
        return middle[0] - start[0], middle[1] - start[1], end[0] - middle[0], end[1] - middle[1]

    return run


def _onnx(file: Path, arguments: argparse.Namespace) -> Runner:
    """The graph gives ``present.*`` for every ``past_key_values.*``, of shape (batch, heads, tokens, width)."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    kept = [i.name for i in session.get_inputs() if i.name.startswith("past_key_values.")]
    decoder = json.loads((file.parent / "genai_config.json").read_text())["model"]["decoder"]
    none = np.zeros((1, decoder["num_key_value_heads"], 0, decoder["head_size"]), dtype=np.float32)

    def step(tokens: list[int], before: int, cache: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        inputs = {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, before + len(tokens)), dtype=np.int64)}
        found = dict(zip(names, session.run(names, inputs | cache), strict=True))
        cache = {name: found[name.replace("past_key_values.", "present.")] for name in kept}
        return int(found["logits"][0, -1].argmax()), cache

    def run(ids: list[int], new: int) -> tuple[float, float, float, float]:
        cache = dict.fromkeys(kept, none)
        start = time.perf_counter(), time.process_time()
        token, cache = step(ids, 0, cache)
        middle = time.perf_counter(), time.process_time()
        for place in range(new):
            token, cache = step([token], len(ids) + place, cache)
        end = time.perf_counter(), time.process_time()
        return middle[0] - start[0], middle[1] - start[1], end[0] - middle[0], end[1] - middle[1]

    return run


def _llama(file: Path, arguments: argparse.Namespace) -> Runner:
    import cyllama.llama.llama_cpp as llama

    llama.disable_logging()
    llama.ggml_backend_load_all()
    model = llama.LlamaModel(str(file), llama.LlamaModelParams(), verbose=False)
    options = llama.LlamaContextParams()
    options.n_ctx = options.n_batch = options.n_ubatch = arguments.prompt + arguments.new + 8
    options.n_threads = options.n_threads_batch = arguments.threads
    context = llama.LlamaContext(model, options, verbose=False)
    sampler = llama.LlamaSampler(llama.LlamaSamplerChainParams())
    sampler.add_greedy()

    def run(ids: list[int], new: int) -> tuple[float, float, float, float]:
        context.kv_cache_clear()
        batch = llama.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
        batch.add_sequence(ids, 0, False)
        start = time.perf_counter(), time.process_time()
        context.decode(batch)
        middle = time.perf_counter(), time.process_time()
        for place in range(new):
            token = sampler.sample(context, -1)
            batch.reset()
            batch.add(token, len(ids) + place, [0], True)
            context.decode(batch)
        end = time.perf_counter(), time.process_time()
        return middle[0] - start[0], middle[1] - start[1], end[0] - middle[0], end[1] - middle[1]

    return run


if __name__ == "__main__":
    sys.exit(main())

"""Training, teaching, evaluation, routing and FP8 products on one device: tokens a second, memory, and agreement.

    python benchmarks/gpu.py --json gpu.json                     # a GPU; under 8 minutes, no network
    python benchmarks/gpu.py --device cpu --tiny --json cpu.json # seconds: does the script work?

Weights are random and texts invented: the figures are of speed and of rounding, not of quality. What a device cannot do
is skipped, with a line that says why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from cogen import devices
from cogen.errors import CogenError

#: Layers, hidden size, intermediate size, heads, vocabulary: 0.5 billion parameters, and next to none.
SIZES = {"full": (24, 1024, 4096, 16, 32_000), "tiny": (2, 32, 64, 4, 600)}
#: Steps of training, texts to teach and to evaluate, and words of a text.
WORK = {"full": (30, 64, 64, 600), "tiny": (2, 3, 2, 30)}


class Bench:
    """One model on one device, and what is measured with it."""

    def __init__(self, size: str, device: str) -> None:
        self.device, self.shape, self.work = device, SIZES[size], WORK[size]
        self.tokenizer = tokenizer(self.shape[4])
        rng = random.Random(0)
        words = ["".join(rng.choices("aeiourstlnm", k=rng.randint(2, 8))) for _ in range(500)]
        self.texts = [" ".join(rng.choices(words, k=self.work[3])) for _ in range(max(self.work[1:3]))]

    def model(self, dtype: str, device: str | None = None) -> Any:
        """A Llama of random weights, the same for every dtype and device."""
        from transformers import LlamaConfig, LlamaForCausalLM

        layers, hidden, wide, heads, vocabulary = self.shape
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=wide,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
        found = LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
        return devices.place(found, device or self.device)

    def training(self) -> dict[str, Any]:
        """Low-rank training of an expert by `cogen train`'s Trainer, in bfloat16."""
        from cogen.forge.recipe import TrainingRecipe
        from cogen.forge.train import train

        steps, length, batch = self.work[0], (512 if self.shape[0] > 2 else 16), 8
        recipe = TrainingRecipe(
            sequence_length=length, batch_size=batch, tokens=steps * batch * length, save_every=10_000
        )
        ids = torch.randint(1, self.shape[4], (steps * batch, length), generator=torch.Generator().manual_seed(1))
        losses: list[float] = []
        model = self.model("bfloat16", "cpu")
        with tempfile.TemporaryDirectory() as folder, self.timed() as clock:
            train(model, ids, recipe, Path(folder), lambda step: losses.append(step.loss))
        return clock.figures(ids.numel()) | {"steps": steps, "first_loss": losses[0], "last_loss": losses[-1]}

    def teaching(self) -> dict[str, Any]:
        """A teacher's statistics of texts, as distillation caches them."""
        from cogen.fusion.distill.teachers.needs import TeacherStatistics
        from cogen.fusion.distill.teachers.teacher import LocalTeacher
        from cogen.fusion.distill.texts import Item

        teacher = LocalTeacher(lambda: self.model("bfloat16"), self.tokenizer, "random")
        encoded = teacher.encoder.encode([Item(text) for text in self.texts[: self.work[1]]], 1024)
        list(teacher.score(encoded[:1], TeacherStatistics(logprob=True, top=8)))  # loads the model
        with self.timed() as clock:
            found = list(teacher.score(encoded, TeacherStatistics(logprob=True, top=8)))
        teacher.release()
        return clock.figures(sum(len(one.ids) for one in encoded)) | {"texts": len(found)}

    def evaluation(self) -> dict[str, Any]:
        """Bits per byte by lm-eval as `cogen eval` measures it; how far bfloat16 here is from float32 on the CPU."""
        from cogen.evals import harness
        from cogen.evals.documents import Row
        from cogen.evals.settings import Settings
        from cogen.evals.task import Task

        harness.prepare()
        task, rows = Task("bits_per_byte"), [Row("", text) for text in self.texts[: self.work[2]]]
        settings = Settings.here(dtype="bfloat16")
        model = self.model("bfloat16")
        harness.evaluate(model, self.tokenizer, task, rows[:1], [], settings)
        with self.timed() as clock:
            here = harness.evaluate(model, self.tokenizer, task, rows, [], settings)
        few = rows[:2]
        exact = harness.evaluate(self.model("float32", "cpu"), self.tokenizer, task, few, [], Settings(dtype="float32"))
        tokens = sum(len(self.tokenizer(text)["input_ids"]) for text in self.texts[: self.work[2]])
        apart = max(abs(a / b - 1) for a, b in zip(here, exact, strict=False))
        return clock.figures(tokens) | {"batch": settings.batch_size, "apart_from_float32": apart}

    def routing(self) -> dict[str, Any]:
        """The states that routers of a mixture are made of, here and on the CPU, in float32."""
        from cogen.routing.states import mean_states

        texts = self.texts[: self.work[2]]
        model = self.model("float32")
        mean_states(model, self.tokenizer, texts[:1])
        with self.timed() as clock:
            here = mean_states(model, self.tokenizer, texts)
        few = mean_states(model, self.tokenizer, texts[:2])
        exact = mean_states(self.model("float32", "cpu"), self.tokenizer, texts[:2])
        apart = float((few - exact).norm() / exact.norm())
        tokens = sum(len(self.tokenizer(text)["input_ids"]) for text in texts)
        return clock.figures(tokens) | {"layers": len(here), "apart_from_the_cpu": apart}

    def fp8(self) -> dict[str, Any]:
        """Products of float8_e4m3fn matrices (weights by row, inputs by row) compared with bfloat16."""
        if not self.device.startswith("cuda"):
            raise Unable("FP8 products need a GPU")
        if torch.cuda.get_device_capability(self.device) < (8, 9):
            raise Unable("FP8 products need compute capability 8.9 or later (Ada, Hopper)")
        size = 4096
        a, b = (torch.randn(size, size, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        (qa, sa), (qb, sb) = _quantized(a), _quantized(b)
        multiply: Any = torch._scaled_mm

        def product() -> torch.Tensor:
            found: torch.Tensor = multiply(qa, qb.t(), scale_a=sa, scale_b=sb.t(), out_dtype=torch.bfloat16)
            return found

        wide = (a.float() @ b.float().t()).float()
        apart = float((product().float() - wide).norm() / wide.norm())
        seconds = {name: self.each(job) for name, job in (("fp8", product), ("bfloat16", lambda: a @ b.t()))}
        flops = {f"{name}_tflops": 2 * size**3 / value / 1e12 for name, value in seconds.items()}
        return flops | {"times_as_fast": seconds["bfloat16"] / seconds["fp8"], "rounding": apart}

    def each(self, job: Callable[[], Any], times: int = 50) -> float:
        """Seconds of one call, after three others."""
        for _ in range(3):
            job()
        self.wait()
        began = time.perf_counter()
        for _ in range(times):
            job()
        self.wait()
        return (time.perf_counter() - began) / times

    def wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    @contextlib.contextmanager
    def timed(self) -> Iterator[Clock]:
        clock = Clock(self)
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        self.wait()
        clock.began = time.perf_counter()
        yield clock
        self.wait()
        clock.seconds = time.perf_counter() - clock.began


class Clock:
    def __init__(self, bench: Bench) -> None:
        self.bench, self.began, self.seconds = bench, 0.0, 0.0

    def figures(self, tokens: int) -> dict[str, Any]:
        """Seconds, tokens and tokens a second; on a GPU the most memory that was in use."""
        found: dict[str, Any] = {"tokens": tokens, "seconds": self.seconds, "tokens_per_second": tokens / self.seconds}
        if self.bench.device.startswith("cuda"):
            found["memory_gb"] = torch.cuda.max_memory_allocated(self.bench.device) / 1e9
        return found


class Unable(Exception):
    """The device lacks something."""


def _quantized(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(float8_e4m3fn, scale of each row in float32, shape (rows, 1))."""
    scale = matrix.abs().amax(1, keepdim=True).float() / torch.finfo(torch.float8_e4m3fn).max
    return (matrix.float() / scale).to(torch.float8_e4m3fn), scale


def tokenizer(size: int) -> Any:
    """Byte-level BPE, made here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(size, 1000),
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the grid operator measures voltage and current at every node"] * 3, trainer)
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=backend, eos_token="<|endoftext|>")


SECTIONS = ("training", "teaching", "evaluation", "routing", "fp8")


def measure(size: str, sections: list[str]) -> dict[str, Any]:
    """Section → its figures, or why it was left out."""
    bench = Bench(size, devices.device())
    found: dict[str, Any] = {}
    for name in sections:
        try:
            found[name] = getattr(bench, name)()
        except Unable as reason:
            found[name] = {"skipped": str(reason)}
        print(_line(name, found[name]), flush=True)
    return found


def _line(name: str, figures: dict[str, Any]) -> str:
    if "skipped" in figures:
        return f"{name}: skipped, {figures['skipped']}"
    return f"{name}: " + ", ".join(
        f"{key.replace('_', ' ')} {value:,.4g}" if isinstance(value, float) else f"{key} {value:,}"
        for key, value in figures.items()
    )


def main(arguments: list[str] | None = None) -> int:
    """
    :returns: exit code: 1 if a device's figures are far from the CPU's.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tiny", action="store_true", help="a model of a few thousand weights")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="repeatable; default: all")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    try:
        with devices.compute(asked.device, asked.threads):
            place = devices.device(deciding=True)
            print(f"{devices.describe(place)}, torch {torch.__version__}", flush=True)
            found = measure("tiny" if asked.tiny else "full", asked.section or list(SECTIONS))
    except CogenError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 3
    if asked.json:
        facts = {"device": devices.describe(place), "torch": torch.__version__, "machine": platform.machine()}
        asked.json.write_text(json.dumps(facts | {"sections": found}, indent=2) + "\n")
    limits = {"apart_from_float32": 0.05, "apart_from_the_cpu": 1e-3}
    return int(any(figures.get(name, 0) > most for figures in found.values() for name, most in limits.items()))


if __name__ == "__main__":
    sys.exit(main())

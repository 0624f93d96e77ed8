"""Two models of a few hundred thousand weights, two vocabularies, real text: every loss in two minutes.

A teacher learns the samples that the reference experts ship, all of them; a student with another tokenizer then learns
from a sixth of them, alone (the control) and with each loss. What is measured is text that neither has seen: the
experts' dev splits. Nothing is fetched. With ``--quick`` models and runs are smaller: seconds, and wider intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilling.statistics import difference

_PLUGINS = Path(__file__).parents[2] / "plugins"


@dataclass(frozen=True)
class Size:
    """Width of both models, entries of their vocabularies, and tokens that each learns."""

    hidden: int
    layers: int
    teacher_vocabulary: int
    student_vocabulary: int
    teacher_tokens: int
    student_tokens: int


FULL = Size(128, 2, 2048, 1024, 150_000, 40_000)
QUICK = Size(48, 1, 512, 384, 24_000, 6_000)
_LOSSES = ("alm", "uld", "p_kl", "piece_kl", "h_kl", "graph", "gold", "mined")


def texts(name: str) -> list[str]:
    files = sorted(_PLUGINS.glob(f"*/src/*/{name}"))
    return [json.loads(line)["text"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def tokenizer(lines: list[str], size: int) -> Any:
    """Byte-level BPE trained on the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<|endoftext|>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def saved(folder: Path, own: Any, hidden: int, layers: int) -> Any:
    """A fresh Llama with this tokenizer as a checkpoint."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from cogen.checkpoints.model import open_folder

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(own),
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return open_folder(folder)


def bits(folder: Path, own: Any, lines: list[str]) -> list[tuple[float, float]]:
    """(bits, bytes) of every text."""
    from cogen.checkpoints.load import load_model
    from cogen.checkpoints.model import open_folder
    from cogen.fusion.distill.alignment.encode import Encoder
    from cogen.fusion.distill.teachers.needs import TeacherStatistics
    from cogen.fusion.distill.teachers.teacher import LocalTeacher
    from cogen.fusion.distill.texts import Item

    encoded = Encoder(own).encode([Item(line) for line in lines], 1024)
    teacher = LocalTeacher(lambda: load_model(open_folder(folder), "float32"), own, "")
    said = teacher.score(encoded, TeacherStatistics(logprob=True))
    return [
        (-float(one["logprob"].astype("float64").sum()) * 1.4426950408889634, float(len(line.encode())))
        for one, line in zip(said, lines, strict=True)
    ]


def tiny(arguments: argparse.Namespace) -> dict[str, Any]:
    """One table: the control, and for each loss its difference from it with a 95 % interval over documents."""
    import gc
    import tempfile

    import torch
    from transformers.utils.logging import disable_progress_bar

    from cogen.checkpoints.load import load_model
    from cogen.checkpoints.model import open_folder
    from cogen.evals import model_digest
    from cogen.fusion.distill.run import DistillMethod, DistillRun, LoadedTeacher, distill, train_control
    from cogen.fusion.distill.settings import Distillation
    from cogen.fusion.distill.teachers.teacher import LocalTeacher
    from cogen.fusion.distill.texts import Item

    gc.freeze()  # modules stay: every collection after a run would go over them again
    began = time.monotonic()
    size = QUICK if arguments.quick else FULL
    disable_progress_bar()
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    known, held = texts("samples.jsonl"), texts("suites/dev.jsonl")
    few = known[::6]
    if arguments.quick:
        held = held[::2]
    common = {
        "mode": "full",
        "max_length": 384,
        "tokens_a_step": 2048,
        "save_every": 1000,
        "warmup": 0.1,
        "strength": arguments.strength,
    }

    def silent(_: Any) -> None:
        pass

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["COGEN_CACHE"] = f"{scratch}/cache"
        large, small = tokenizer(known, size.teacher_vocabulary), tokenizer(few, size.student_vocabulary)
        settings = Distillation(tokens=size.teacher_tokens, learning_rate=3e-3, **common)
        fresh = saved(Path(scratch, "teacher"), large, size.hidden, size.layers)
        folder = train_control(DistillRun(fresh, large, "teacher", [Item(text) for text in known], settings), silent)
        whole = open_folder(folder)
        teacher = LoadedTeacher(
            "teacher", LocalTeacher(lambda: load_model(whole, "bfloat16"), large, model_digest(whole))
        )
        rows = {"teacher": bits(folder, large, held)}
        settings = Distillation(tokens=size.student_tokens, learning_rate=3e-3, **common)
        setup = DistillRun(
            saved(Path(scratch, "student"), small, size.hidden, size.layers),
            small,
            "student",
            [Item(text) for text in few],
            settings,
        )
        rows["control"] = bits(train_control(setup, silent), small, held)
        for loss in arguments.losses or _LOSSES:
            rows[loss] = bits(distill(setup, [teacher], DistillMethod(loss), silent), small, held)
    found: dict[str, Any] = {"rows": {}, "missed": []}
    print("| model | bits per byte | less the control's | 95 % interval |\n|---|---|---|---|")
    plain = rate(rows["control"])
    for name, pairs in rows.items():
        gap = difference([pairs], [rows["control"]])
        found["rows"][name] = gap | {"value": rate(pairs), "control": plain}
        own = " | " if name == "control" else f"{gap['difference']:+.4f} | {gap['low']:+.4f} to {gap['high']:+.4f}"
        print(f"| {name} | {rate(pairs):.4f} | {own} |")
    found["seconds"] = round(time.monotonic() - began, 1)
    print(f"\n{found['seconds']:.0f} s, n = {len(held)} documents, one seed", file=sys.stderr)
    if found["rows"].get("alm", {"high": -1.0})["high"] >= 0:
        found["missed"].append("alm is not better than its control")
    return found


def rate(pairs: list[tuple[float, float]]) -> float:
    """Bits per byte."""
    return sum(bits for bits, _ in pairs) / sum(size for _, size in pairs)

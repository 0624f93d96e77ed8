"""Kinds of PEFT adapters: what CoGen makes of each, compared with peft's ``merge_and_unload``.

    python benchmarks/adapters.py [--json FILE]

One Llama of two layers per kind, hidden size 256, in float32, with random adapters; both sides are compared with
float64 arithmetic of peft's own merge. Prints the largest error of any element, relative to the largest element of its
tensor, of CoGen's and of peft's float32 result. Exits with 1 where CoGen's is above 1e-6.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
SIZES = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 8, "num_key_value_heads": 4}
LIMIT = 1e-6


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    sys.path[:0] = [str(TESTS)]
    from checkpoints.test_adapter_kinds import KINDS

    rows: list[dict[str, Any]] = []
    for kind, (changes, config) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            ours, peft = errors(Path(folder), {**SIZES, **changes}, config)
        rows.append({"kind": kind, "cogen": ours, "peft": peft})
        print(f"{kind:36} cogen {ours:.1e}   peft {peft:.1e}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(row["cogen"] > LIMIT for row in rows))


def errors(folder: Path, changes: dict[str, Any], config: dict[str, Any]) -> tuple[float, float]:
    """Largest errors of CoGen's and of peft's float32 result, against peft's in float64."""
    from checkpoints.test_adapter_kinds import randomize
    from peft import LoraConfig, PeftModel, get_peft_model
    from support.tiny import llama, save_model

    from cogen.checkpoints.adapter import read_adapter
    from cogen.checkpoints.model import open_folder

    made = get_peft_model(llama(**changes), LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=12, **config))
    randomize(made)
    made.save_pretrained(str(folder / "adapter"))
    narrow, wide = (
        PeftModel.from_pretrained(llama(dtype=dtype, **changes), folder / "adapter").merge_and_unload().state_dict()
        for dtype in ("float32", "float64")
    )
    ours = open_folder(save_model(folder / "base", **changes)).with_adapter(read_adapter(folder / "adapter"))
    worst = [0.0, 0.0]
    for name in ours.names():
        for index, found in enumerate((ours.read(name), narrow[name])):
            error = (found.double() - wide[name].double()).abs().max() / wide[name].double().abs().max()
            worst[index] = max(worst[index], float(error))
    return worst[0], worst[1]


if __name__ == "__main__":
    sys.exit(main())

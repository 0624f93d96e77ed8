"""Distillation across families: every loss beside its control, and what it costs.

    python benchmarks/distill.py --tiny --json tiny.json      # small models, two minutes
    python benchmarks/distill.py real --json real.json        # SmolLM2 from Gemma experts, five hours
    python benchmarks/distill.py cost --json cost.json        # what a loss adds to the student's step
    python benchmarks/distill.py gold --json gold.json        # beside TRL's GOLD: tokens a second, memory

Exit code 1 where the claim of a table does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from distilling.real import TEACHER_TOKENS, teacher_tokens


def main() -> int:
    """Print tables; write everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["real", "tiny", "cost", "gold"], default=None)
    parser.add_argument("--tiny", action="store_true", help="the same as tiny")
    parser.add_argument("--quick", action="store_true", help="tiny: smaller models, shorter runs")
    parser.add_argument("--work", type=Path, default=Path("distill-work"), help="folder for everything that is kept")
    parser.add_argument("--losses", nargs="*", help="default: all")
    parser.add_argument("--tokens", type=int, default=50_000, help="that the student learns in a run")
    parser.add_argument(
        "--teacher-tokens",
        type=teacher_tokens,
        default=TEACHER_TOKENS,
        help="that each Gemma expert is trained on: clinical=40000,power=120000, or one number",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--mode", choices=["full", "lora"], default="lora")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--strength", type=float, default=0.25, help="of distillation, relative to the text loss")
    parser.add_argument(
        "--steps", type=int, default=10, help="cost: steps of every loss; gold: of a run, warm-up apart"
    )
    parser.add_argument("--runs", type=int, default=3, help="gold: of GOLD and of every loss, in turn")
    parser.add_argument("--peer-env", type=Path, help="gold: TRL's environment, made if it is not there")
    parser.add_argument("--variant", choices=["positional", "hybrid"], default="positional", help="gold: its loss")
    parser.add_argument("--both", action="store_true", help="gold: Gemma as the student as well")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    what = "tiny" if arguments.tiny else arguments.what
    if what is None:
        parser.error("say what: real, tiny, cost or gold")
    arguments.work = arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if what == "real":
        from distilling.real import real

        found = real(arguments)
        missed = not found["met"]
    elif what == "tiny":
        from distilling.tiny import tiny

        found = tiny(arguments)
        missed = bool(found["missed"])
    elif what == "gold":
        from distilling.gold import gold

        found = gold(arguments)
        missed = bool(found["missed"])
    else:
        from distilling.cost import cost

        found = cost(arguments)
        missed = bool(found["missed"])
    if arguments.json:
        facts = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        arguments.json.write_text(json.dumps(found | facts, indent=2) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

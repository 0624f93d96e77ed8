"""The law of merging (arXiv:2509.24244) on the installed experts: fitted on small subsets, checked on the full set.

    python benchmarks/forecast.py --documents 4 --json forecast.json
    python benchmarks/forecast.py --kinds ties --subsets 10 --up-to 5 --curve

For each kind of fusion: random subsets of k = 1 … ``--up-to`` experts are fused and measured on the dev documents of
all experts' domains, the law is fitted and its prediction printed. Only then is the full set built and measured. With
``--curve`` the sizes between follow, and the law is fitted again to all of them: what is left over (``misfit``) says
whether it holds. Figures are kept in the cache of results (``COGEN_CACHE``), so that a run that was stopped, or is
started again with more subsets, measures only what is missing; ``--seed`` chooses other subsets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cogen
from cogen.cli.render_forecast import forecast_json, show_check, show_forecast, show_work

#: What each kind is to ``cogen.forecast``. Routing prefix needs the experts' token counts alone.
KINDS: dict[str, dict[str, Any]] = {
    "task_arithmetic": {"method": "task_arithmetic"},
    "ties": {"method": "ties"},
    "moe": {"strategy": "moe", "routing": "prefix"},
}


class Progress:
    """The subset that is being measured, on stderr."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def describe(self, label: str) -> None:
        print(f"{time.monotonic() - self._start:6.0f} s  {label}", file=sys.stderr, flush=True)

    def advance(self, n: float = 1) -> None:
        """Not shown."""

    def note(self, text: str) -> None:
        """Not shown."""


def run(
    kind: str, experts: list[str] | None, options: dict[str, Any], up_to: int | None, curve: bool
) -> dict[str, Any]:
    """Predict, print, and only then measure the full set, and the sizes between."""
    chosen = (
        dict(options) if KINDS[kind].get("strategy") != "moe" else {k: v for k, v in options.items() if k != "total"}
    )
    found = cogen.forecast(experts, up_to=up_to, on_work=show_work, reporter=Progress(), **KINDS[kind], **chosen)
    print(f"\n## {kind}\n", flush=True)
    show_forecast(found)
    sys.stdout.flush()
    full = found.check(Progress())
    show_check(full)
    document = forecast_json(found, full)
    if curve and found.request.sizes[-1] < len(found.experts) - 1:
        every = cogen.forecast(experts, up_to=len(found.experts) - 1, reporter=Progress(), **KINDS[kind], **chosen)
        document["every_size"] = forecast_json(every, None)
        fitted = every.prediction.curve
        if fitted is not None:
            means = zip(fitted.sizes, fitted.means, strict=True)
            document["misfit"] = {k: fitted.law.at(k) / mean - 1 for k, mean in means}
            shown = ", ".join(f"{k}: {100 * share:+.2f} %" for k, share in document["misfit"].items())
            print(f"law of all sizes below the full set against their means: {shown}", flush=True)
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", nargs="*", help="default: every installed one")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--documents", type=int, default=4, help="dev documents of each suite")
    parser.add_argument("--subsets", type=int, help="of each size; default: as many as experts")
    parser.add_argument("--up-to", type=int, help="largest subset of the prediction; default: half of the experts")
    parser.add_argument("--total", type=float, nargs="*", help="sums of the scaling factors; default: 1")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curve", action="store_true", help="measure the sizes between as well, after the full set")
    parser.add_argument("--json", type=Path, help="all figures; kinds of an earlier run in it are kept")
    asked = parser.parse_args()
    options = {
        "documents": asked.documents,
        "subsets": asked.subsets,
        "total": asked.total or None,
        "dtype": asked.dtype,
        "seed": asked.seed,
    }
    found: dict[str, Any] = json.loads(asked.json.read_text()) if asked.json and asked.json.is_file() else {}
    for kind in asked.kinds:
        found[kind] = run(kind, asked.experts or None, options, asked.up_to, asked.curve)
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    """Results as JSON."""
    return vars(value)


if __name__ == "__main__":
    main()

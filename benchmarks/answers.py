"""What a training does to plain questions: base, experts and composites on the chat suite and on held-out text.

    python benchmarks/answers.py --tokens 51200 --json answers.json

Trains the expert `power` twice from its recipe on as many tokens: as it is, and with `document_ends = true` and
`rehearsal = 0.25`. Measures these, the base, the expert as it ships, and for each of the three a composite with the
other four reference experts (task arithmetic with the same weight for all), on the 120 questions of the chat suite, on
power's held-out text and on general text, all at the level full. `--train` stops after the trainings; both are kept in
the cache, so the run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomlkit
import yaml

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import general_suites, model_digest, run_suites, suites_of
from cogen.evals.chat import run_chat
from cogen.forge.build import prepare, run_training
from cogen.host import Host

PLUGINS = Path(__file__).parent.parent / "plugins"
VARIANTS: dict[str, dict[str, Any]] = {
    "power, documents alone": {},
    "power, with document ends": {"document_ends": True},
    "power, with document ends and rehearsal": {"document_ends": True, "rehearsal": 0.25},
}
OTHERS = ("clinical", "energy", "materials", "neuro")


def weights_of(expert: str) -> Path:
    """The adapter that a reference expert ships."""
    return PLUGINS / f"cogen-plugin-{expert}" / "src" / f"cogen_plugin_{expert}" / "weights"


def trained(changes: dict[str, Any], tokens: int, folder: Path) -> tuple[Path, float]:
    """(the adapter of power's recipe with these changes, the seconds that its training took)."""
    recipe = tomllib.loads((PLUGINS / "cogen-plugin-power" / "recipe.toml").read_text(encoding="utf-8"))
    recipe["training"] |= {"tokens": tokens} | changes
    path = folder / "recipe.toml"
    path.write_text(tomlkit.dumps(recipe), encoding="utf-8")
    prepared = prepare(path)

    def report(step: Any) -> None:
        if step.step % 10 == 0:
            print(
                f"  step {step.step} of {step.steps}: loss {step.loss:.3f}, {step.seconds_left:.0f} s left", flush=True
            )

    result = run_training(prepared, report)
    return result, json.loads((result / "run.json").read_text())["seconds"]


def composite(base: Path, adapters: list[Path], weight: float, folder: Path) -> Path:
    """base + weight · Σ differences, written as a checkpoint."""
    import cogen

    models = [{"model": f"{base}+{adapter}", "parameters": {"weight": weight}} for adapter in adapters]
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "models": models,
        "parameters": {"normalize": False},
        "dtype": "bfloat16",
    }
    config = folder.with_suffix(".yml")
    config.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    cogen.merge(config, output=folder)
    return folder


def measured(name: str, checkpoint: Checkpoint, tokenizer: Any, suites: list[Any], dtype: str) -> dict[str, Any]:
    """A row of the table."""
    load: Callable[[], Any] = functools.cache(functools.partial(load_model, checkpoint, dtype))
    own: dict[str, Any] = {"model_digest": model_digest(checkpoint), "tokenizer_digest": tokenizer_digest(tokenizer)}
    texts = run_suites(load, tokenizer, suites, split="test", level="full", dtype=dtype, **own)
    chat = run_chat(load, tokenizer, level="full", dtype=dtype, **own)
    assert chat is not None, "the base has a chat template"
    row: dict[str, Any] = {"model": name, **{result.column: round(result.value, 4) for result in texts}}
    row |= {"well-formed": round(chat.value, 3), "n": chat.n} | {k: round(v, 3) for k, v in chat.details.items()}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=51_200)
    parser.add_argument("--weight", type=float, default=0.4, help="of every expert in a composite")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="variants to train")
    parser.add_argument("--train", action="store_true", help="train, and stop")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results, seconds = {}, {}
        for name in arguments.only:
            print(name, flush=True)
            results[name], seconds[name] = trained(VARIANTS[name], arguments.tokens, folder)
            print(f"  {seconds[name]:.0f} s", flush=True)
        if arguments.train:
            return
        prepared = prepare(folder / "recipe.toml")
        base, tokenizer = prepared.base, load_tokenizer(prepared.base.folder)
        suites = [*suites_of(Host.discover().expert("power")), *general_suites()]
        adapters = {"power as shipped": weights_of("power"), **results}
        rows = [measured("base", base, tokenizer, suites, arguments.dtype)]
        for name, adapter in adapters.items():
            expert = Checkpoint(base.folder, base.tensors, read_adapter(adapter))
            rows.append(measured(name, expert, tokenizer, suites, arguments.dtype))
        for number, (name, adapter) in enumerate(adapters.items()):
            parts = [adapter, *map(weights_of, OTHERS)]
            made = composite(base.folder, parts, arguments.weight, folder / f"composite{number}")
            rows.append(measured(f"composite with {name}", open_folder(made), tokenizer, suites, arguments.dtype))
    if arguments.json:
        figures = {"rows": rows, "training_seconds": seconds, "tokens": arguments.tokens, "weight": arguments.weight}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

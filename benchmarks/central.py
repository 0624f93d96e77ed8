"""The control that matters: one model trained centrally on the texts of all experts, next to a composite of them.

    python benchmarks/central.py train --work central                 # both controls, resumable, one thread
    python benchmarks/central.py measure --work central --composite composite --split dev --json central.json

`train` reads the recipe of every plugin of this repository (or `--recipes FILE…`) and makes of each the very blocks of
tokens that its expert was trained on. `central` learns all of them, shuffled, with the experts' mode, rank and recipe:
as many tokens as all experts together, each expert's text in the proportion that it had. `single` learns as many tokens
as one expert (the mean), drawn from the same blocks in the same proportion. Killed, it goes on from its last
checkpoint.

`measure` compares on every suite: base, the suite's own specialist, central, single, and the composite's folder;
differences are paired by document, with 95 % bootstrap intervals. Choose on `--split dev`; look at `test` once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.evals import BoundSuite, Matrix, SuiteResult
    from cogen.forge.blocks import Blocks
    from cogen.forge.build import PreparedTraining
    from cogen.forge.recipe import TrainingRecipe

ROOT = Path(__file__).parents[1]
#: Both controls, by name.
CONTROLS = ("central", "single")
SEED = 20261130
#: What may differ between the experts' recipes: how long each is trained, and with which random numbers.
_OWN = ("tokens", "seed", "threads", "save_every", "rehearsal", "document_ends")


def recipes() -> list[Path]:
    """Of the plugins of this repository."""
    return sorted((ROOT / "plugins").glob("*/recipe.toml"))


def common_training(prepared: Sequence[PreparedTraining]) -> TrainingRecipe:
    """The recipe that all experts share, with the tokens of all of them and one thread.

    :raises SystemExit: they were not trained alike, so there is no model that was trained as they were.
    """
    first = prepared[0].recipe.training
    for one in prepared[1:]:
        other = one.recipe.training
        for name in type(first).model_fields:
            if name not in _OWN and getattr(first, name) != getattr(other, name):
                raise SystemExit(
                    f"{prepared[0].recipe.id} and {one.recipe.id} differ in {name}: "
                    f"{getattr(first, name)!r} and {getattr(other, name)!r}"
                )
    if first.mode == "anchored" or first.privacy is not None or first.start is not None:
        raise SystemExit("experts of mode anchored, with differential privacy or a start have no central control here")
    if len({one.base_ref.weights_digest for one in prepared}) > 1:
        raise SystemExit("the experts have several bases")
    tokens = sum(one.count * one.recipe.training.sequence_length for one in prepared)
    return first.model_copy(update={"tokens": tokens, "seed": SEED, "threads": 1})


def all_blocks(prepared: Sequence[PreparedTraining]) -> Blocks:
    """What every expert read, block by block, in one random order."""
    import torch

    from cogen.forge.blocks import Blocks
    from cogen.forge.build import rehearsed

    parts = [one.blocks(rehearsed(one)) for one in prepared]
    length = parts[0].ids.shape[1]
    ids = torch.cat([part.ids for part in parts])
    order = list(range(len(ids)))
    random.Random(SEED).shuffle(order)
    if all(part.labels is None and part.positions is None for part in parts):
        return Blocks(ids[order])
    labels = torch.cat([part.ids if part.labels is None else part.labels for part in parts])
    plain = torch.arange(length)
    positions = torch.cat([plain.expand_as(part.ids) if part.positions is None else part.positions for part in parts])
    return Blocks(ids[order], labels[order], positions[order])


def share(blocks: Blocks, training: TrainingRecipe, experts: int) -> tuple[Blocks, TrainingRecipe]:
    """The first of the shuffled blocks, as many as one expert read on average."""
    step = training.batch_size * training.gradient_accumulation
    count = max(1, round(len(blocks) / experts / step)) * step
    kept: dict[str, Any] = {
        field.name: None if (values := getattr(blocks, field.name)) is None else values[:count]
        for field in dataclasses.fields(blocks)
    }
    tokens = count * training.sequence_length
    return type(blocks)(**kept), training.model_copy(update={"tokens": tokens})


def train_control(
    name: str,
    base: PreparedTraining,
    blocks: Blocks,
    training: TrainingRecipe,
    work: Path,
    on_step: Callable[[Any], None],
) -> Path:
    """Train one control into ``work/name/weights``; what is done already is kept, what was cut short goes on.

    :param base: any of the experts: they share the base.
    """
    from cogen.checkpoints.load import load_model
    from cogen.forge.build import save_trained
    from cogen.forge.train import train

    folder = work / name
    note, weights = folder / "inputs.json", folder / "weights"
    inputs = {
        "base": base.base_ref.weights_digest,
        "training": training.model_dump(mode="json", exclude={"save_every"}),
        "blocks": hashlib.sha256(blocks.ids.numpy().tobytes()).hexdigest(),
    }
    if note.is_file() and json.loads(note.read_text()) != inputs:
        shutil.rmtree(folder)  # other texts or another recipe
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(inputs))
    if not weights.is_dir():
        fresh = load_model(base.base, "float32" if training.mode == "full" else "bfloat16")
        model = train(fresh, blocks, training, folder / "steps", on_step)
        save_trained(model, base, weights)
        shutil.rmtree(folder / "steps", ignore_errors=True)
    return weights


def prepare_all(files: Sequence[Path], tokens: int | None) -> list[PreparedTraining]:
    """
    :param tokens: of each expert, in the place of its recipe's: for a trial.
    """
    from cogen.forge.build import prepare

    found = []
    for file in files:
        one = prepare(file)
        if tokens is not None:
            training = one.recipe.training.model_copy(update={"tokens": tokens})
            one = dataclasses.replace(one, recipe=one.recipe.model_copy(update={"training": training}))
        found.append(one)
        print(f"{one.recipe.id}: {one.count} blocks of {one.recipe.training.sequence_length}", file=sys.stderr)
    return found


def train_all(files: Sequence[Path], work: Path, names: Sequence[str], tokens: int | None) -> dict[str, Any]:
    """Train the controls; what each learned, by name."""
    prepared = prepare_all(files, tokens)
    training, blocks = common_training(prepared), all_blocks(prepared)
    made = {}
    for name in names:
        own, recipe = (blocks, training) if name == "central" else share(blocks, training, len(prepared))

        def say(step: Any, name: str = name) -> None:
            left = f"{step.seconds_left / 60:.0f} min left"
            print(f"{name}: step {step.step} of {step.steps}, loss {step.loss:.3f}, {left}", file=sys.stderr)

        weights = train_control(name, prepared[0], own, recipe, work, say)
        made[name] = {"weights": str(weights), "tokens": len(own) * recipe.sequence_length}
    facts = {"experts": [one.recipe.id for one in prepared], "base": prepared[0].base_ref.model_dump(mode="json")}
    facts |= {"controls": made, "mode": training.mode}
    (work / "controls.json").write_text(json.dumps(facts, indent=1))
    return facts


# ---- measuring -------------------------------------------------------------------------------------------


def control(work: Path, name: str, base: Checkpoint, mode: str) -> Checkpoint:
    """A trained control, opened."""
    from cogen.checkpoints.adapter import read_adapter
    from cogen.checkpoints.model import Checkpoint, open_folder

    folder = work / name / "weights"
    return open_folder(folder) if mode == "full" else Checkpoint(base.folder, base.tensors, read_adapter(folder))


def measure(work: Path, composite: Path | None, suites: Sequence[BoundSuite], how: dict[str, Any], host: Any) -> Matrix:
    """Rows base, experts (on their own suites and general text), the controls that were trained, composite.

    :param how: ``split``, ``level`` and ``dtype`` of :func:`cogen.evals.run_suites`.
    """
    from cogen.checkpoints.load import load_expert, load_model, load_tokenizer
    from cogen.checkpoints.model import open_folder, open_weights
    from cogen.evals import Matrix, model_digest, run_suites
    from cogen.evals.matrix import suites_for
    from cogen.spec.model import BaseRef

    facts = json.loads((work / "controls.json").read_text())
    base = open_weights(BaseRef.model_validate(facts["base"]))
    tokenizer = load_tokenizer(base.folder)
    models: dict[str, tuple[Checkpoint, Callable[[], Any]]] = {}

    def plain(name: str, checkpoint: Checkpoint) -> None:
        models[name] = checkpoint, functools.partial(load_model, checkpoint, how["dtype"])

    plain("base", base)
    installed = {expert.id: expert for expert in host.experts()}
    for id in facts["experts"]:
        if id in installed:
            spec = installed[id].spec
            checkpoint = open_weights(spec.model)
            models[id] = checkpoint, functools.partial(load_expert, host, spec, checkpoint, how["dtype"])
    for name in facts["controls"]:
        plain(name, control(work, name, base, facts["mode"]))
    if composite is not None:
        plain("composite", open_folder(composite))
    rows: dict[str, list[SuiteResult]] = {}
    for name, (checkpoint, load) in models.items():
        print(f"measuring {name}", file=sys.stderr)
        own = suites_for({name} if name in installed else None, suites, "own")
        words = load_tokenizer(checkpoint.folder) if name == "composite" else tokenizer
        rows[name] = run_suites(
            functools.cache(load),
            words,
            own,
            model_digest=model_digest(checkpoint),
            tokenizer_digest=_digest(words),
            chooser=(tokenizer, _digest(tokenizer)),
            **how,
        )
    return Matrix.of(rows, [bound.name for bound in suites])


@functools.lru_cache(maxsize=4)
def _digest(tokenizer: Any) -> str:
    from cogen.checkpoints.digests import tokenizer_digest

    return str(tokenizer_digest(tokenizer))


def differences(matrix: Matrix) -> list[dict[str, Any]]:
    """Each model against the controls, the specialist and the base, suite by suite: paired, with intervals.

    ``percent`` is the change of bits per byte, or points of accuracy; better is below zero in the former, above in the
    latter. ``verdict``: of the first against the second.
    """
    from cogen.evals import compare

    found = []
    for column in matrix.columns:
        own = column.partition("/")[0]
        for row, against in (
            ("composite", "central"),
            ("composite", "single"),
            ("composite", own),
            ("composite", "base"),
            ("central", own),
            ("central", "base"),
            ("single", own),
        ):
            one, other = matrix.get(row, column), matrix.get(against, column)
            if one is None or other is None:
                continue
            gain = compare(one, other)
            values = (
                (gain.difference, gain.low, gain.high)
                if gain.ratio is None
                else tuple(
                    None if value is None else value - 1 for value in (gain.ratio, gain.ratio_low, gain.ratio_high)
                )
            )
            names = ("percent", "low", "high")
            figures = {name: None if v is None else 100 * v for name, v in zip(names, values, strict=True)}
            found.append({"suite": column, "model": row, "against": against, "n": gain.n, **figures})
            found[-1]["verdict"] = gain.verdict
    return found


def table(matrix: Matrix, found: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: figures, then the differences."""
    from cogen.evals.matrix import EMPTY

    heads = [f"{column} ({matrix.metric(column)})" for column in matrix.columns]
    lines = ["| model | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row in matrix.rows:
        cells = [EMPTY if (cell := matrix.get(row, c)) is None else f"{cell.value:.4f}" for c in matrix.columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| suite | model | against | difference in % (points for acc) | 95 % interval | n |",
        "|---" * 6 + "|",
    ]
    for one in found:
        bounds = EMPTY if one["low"] is None else f"{one['low']:+.2f} to {one['high']:+.2f}"
        lines.append(
            f"| {one['suite']} | {one['model']} | {one['against']} | {one['percent']:+.2f} | {bounds} | {one['n']} |"
        )
    worse = sorted({d["suite"] for d in found if d["model"] == "composite" and _worse_than_central(d)})
    if any(one["against"] == "central" and one["model"] == "composite" for one in found):
        lines += ["", f"The composite is worse than the central model on: {', '.join(worse) or 'no suite'}."]
    return lines


def _worse_than_central(one: dict[str, Any]) -> bool:
    return bool(one["against"] == "central" and one["verdict"] == "worse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("--work", type=Path, default=Path("central"), help="folder of the controls")
    parser.add_argument("--recipes", type=Path, nargs="+", help="default: those of every plugin of this repository")
    parser.add_argument("--only", choices=CONTROLS, help="train one of the two")
    parser.add_argument("--tokens", type=int, help="of each expert, in the place of its recipe's: for a trial")
    parser.add_argument("--composite", type=Path, help="folder that `cogen fuse` wrote")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--level", choices=("quick", "full"), default="full")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.what == "train":
        names = (options.only,) if options.only else CONTROLS
        found: Any = train_all(options.recipes or recipes(), options.work, names, options.tokens)
        print(json.dumps(found["controls"]))
    else:
        import torch

        from cogen.evals import general_suites, suites_of
        from cogen.host import Host

        torch.set_num_threads(1)
        host = Host.discover()
        asked = set(json.loads((options.work / "controls.json").read_text())["experts"])
        suites = [bound for expert in host.experts() if expert.id in asked for bound in suites_of(expert)]
        how = {"split": options.split, "level": options.level, "dtype": options.dtype}
        matrix = measure(options.work, options.composite, [*suites, *general_suites()], how, host)
        pairs = differences(matrix)
        print("\n".join(table(matrix, pairs)))
        found = {"matrix": matrix.to_json(), "differences": pairs}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""SmolLM2 learns from Gemma experts: every loss on one seed, the three best and the control on three.

The domains were named before any fusion was run: clinical and power. Their Gemma experts read the beginning of the
domain's training part; pivot and control learn from its end, which those have not seen.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distilling.statistics import difference
from distilling.teachers import PLUGINS, trained

DOMAINS = ("clinical", "power")
#: What its Gemma expert reads of each domain. With 40,000 the one for power is no better than a control that learned
#: 50,000 tokens of both: there would be nothing to learn from it.
TEACHER_TOKENS = {"clinical": 40_000, "power": 120_000}
LOSSES = ("alm", "uld", "p_kl", "piece_kl", "h_kl", "graph", "gold", "mined", "uld+alm", "piece_kl+alm")
PIVOT = "smollm2-135m-instruct"


def texts(work: Path, tokens: int) -> Path:
    """The end of both domains' training parts, half of the budget each, as JSON Lines."""
    file = work / f"texts-{tokens}.jsonl"
    if not file.is_file():
        from cogen.forge.build import prepare

        lines: list[str] = []
        for id in DOMAINS:
            prepared = prepare(PLUGINS / f"cogen-plugin-{id}" / "recipe.toml", print)
            room = tokens // len(DOMAINS)
            for document, ids in zip(reversed(prepared.corpus.train), reversed(prepared.encoded), strict=True):
                if room <= 0:
                    break
                lines.append(json.dumps({"text": document.text, "owner": id}) + "\n")
                room -= len(ids)
        file.write_text("".join(lines), encoding="utf-8")
    return file


class Bench:
    """Runs and their results; whatever was run before is read from the cache."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from cogen.fusion.distill.compose import compose_group, teacher_of
        from cogen.fusion.distill.plan import plan_distillation
        from cogen.fusion.distill.run import DistillRun, LoadedTeacher
        from cogen.fusion.recipe import FuseRecipe
        from cogen.host import Host

        self.arguments = arguments
        work = arguments.work
        ids = [trained(id, work, arguments.teacher_tokens[id]) for id in DOMAINS]
        settings = {
            "pivot": PIVOT,
            "groups": "apart",
            "texts": (str(texts(work, arguments.tokens)),),
            "tokens": arguments.tokens,
            "threads": arguments.threads,
            "learning_rate": arguments.learning_rate,
            "mode": arguments.mode,
            "strength": arguments.strength,
        }
        recipe = FuseRecipe.model_validate(
            {
                "experts": dict.fromkeys(ids, 1.0),
                "strategy": "distill",
                "method": "alm",
                "level": "full",
                "distill": settings,
            }
        )
        host = Host.discover()
        self.plan, self.inputs = plan_distillation(host, recipe)
        self.host = host
        self.checkpoint = compose_group(self.inputs.student)
        self.setup = DistillRun(
            self.checkpoint,
            self.inputs.student.tokenizer,
            self.plan.tokenizer_digest,
            self.inputs.items,
            recipe.distill,
        )
        self.teachers = [LoadedTeacher(source.group.name, teacher_of(source)) for source in self.inputs.teachers]
        self.seconds: dict[str, float] = {}

    def run(self, method: str | None, seed: int) -> Path:
        """The folder of a run: a loss, or the control."""
        from cogen.fusion.distill.run import DistillMethod, distill, train_control

        setup = replace(self.setup, settings=self.setup.settings.model_copy(update={"seed": seed}))
        name = f"{method or 'control'}, seed {seed}"
        began = time.monotonic()

        def report(step: Any) -> None:
            if step.step % 10 == 0 or step.step == step.steps:
                print(
                    f"{name}: step {step.step} of {step.steps}, loss {step.loss:.3f}, "
                    f"{step.tokens_per_second:.0f} tokens/s",
                    file=sys.stderr,
                    flush=True,
                )

        folder = (
            train_control(setup, report)
            if method is None
            else distill(setup, self.teachers, DistillMethod(method), report)
        )
        self.seconds[name] = round(time.monotonic() - began, 1)
        return folder

    def stock(self) -> Any:
        """The teacher without any training: Gemma as it was published."""
        from cogen.checkpoints.load import load_model
        from cogen.evals import model_digest
        from cogen.fusion.distill.run import LoadedTeacher
        from cogen.fusion.distill.teachers.teacher import LocalTeacher

        base = self.inputs.teachers[0].inputs.base
        teacher = LocalTeacher(
            lambda: load_model(base, "bfloat16"), self.inputs.teachers[0].tokenizer, model_digest(base)
        )
        return LoadedTeacher("stock gemma", teacher)

    def measured(self, load: Any, digest: str, tokenizer: Any, tokens: str, part: str) -> dict[str, Any]:
        """column → result on the two domains' suites and on general text, every document, float32."""
        from cogen.evals import general_suites, run_suites, suites_of

        suites = [suite for id in DOMAINS for suite in suites_of(self.host.expert(id))]
        suites += general_suites() if part == "test" else []
        chooser = (self.setup.tokenizer, self.setup.tokenizer_digest)
        found = run_suites(
            load,
            tokenizer,
            suites,
            model_digest=digest,
            tokenizer_digest=tokens,
            split=part,
            level="full",
            dtype="float32",
            chooser=chooser,
        )
        return {result.owner: result for result in found}

    def student(self, folder: Path, part: str) -> dict[str, Any]:
        from cogen.checkpoints.load import load_model
        from cogen.checkpoints.model import open_folder
        from cogen.evals import model_digest

        whole = open_folder(folder)
        own = self.setup
        return self.measured(
            lambda: load_model(whole, "float32"), model_digest(whole), own.tokenizer, own.tokenizer_digest, part
        )

    def teacher(self, number: int, part: str) -> dict[str, Any]:
        from cogen.fusion.distill.compose import model_of

        source = self.inputs.teachers[number]
        digest, load = model_of(source, "float32")
        return self.measured(load, digest, source.tokenizer, source.tokenizer_digest, part)


def teacher_tokens(text: str) -> dict[str, int]:
    """ "clinical=40000,power=120000", or one number for all domains."""
    given = dict(part.split("=") for part in text.split(",")) if "=" in text else dict.fromkeys(DOMAINS, text)
    if set(given) != set(DOMAINS):
        raise argparse.ArgumentTypeError(f"name {' and '.join(DOMAINS)}")
    return {id: int(number) for id, number in given.items()}


def mean_log(found: dict[str, Any]) -> float:
    """Of bits per byte on the two domains."""
    return math.fsum(math.log(found[id].value) for id in DOMAINS) / len(DOMAINS)


def line(name: str, found: dict[str, Any], train_control: dict[str, Any] | None = None) -> str:
    cells = []
    for column, result in found.items():
        text = f"{result.value:.4f}"
        if train_control is not None:
            gap = difference([result.per_document], [train_control[column].per_document])
            text += f" ({gap['difference']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}])"
        cells.append(text)
    return f"| {name} | " + " | ".join(cells) + " |"


def real(arguments: argparse.Namespace) -> dict[str, Any]:
    """All tables; prints each as soon as it is known."""
    bench = Bench(arguments)
    losses: Sequence[str] = arguments.losses or LOSSES
    print("\nbits per byte on the dev parts (n = 20), one seed; in brackets: less the control's, 95 % interval")
    dev = {"pivot": bench.student(bench.checkpoint.folder, "dev"), "control": bench.student(bench.run(None, 0), "dev")}
    for name, found in dev.items():
        print(line(name, found), flush=True)
    for number, teacher in enumerate(bench.teachers):
        dev[teacher.name] = bench.teacher(number, "dev")
        print(line(teacher.name, dev[teacher.name], dev["control"]), flush=True)
    for loss in losses:
        dev[loss] = bench.student(bench.run(loss, 0), "dev")
        print(line(loss, dev[loss], dev["control"]), flush=True)
    best = sorted(losses, key=lambda loss: mean_log(dev[loss]))[:3]
    print(f"chosen on dev: {', '.join(best)}", flush=True)
    teachers = bench.teachers
    bench.teachers = [bench.stock()]
    dev["stock gemma"] = bench.student(bench.run(best[0], 0), "dev")
    print(line(f"{best[0]} from stock gemma", dev["stock gemma"], dev["control"]), flush=True)
    bench.teachers = teachers
    seeds = range(arguments.seeds)
    test = {
        name: [bench.student(bench.run(None if name == "control" else name, seed), "test") for seed in seeds]
        for name in ("control", *best)
    }
    before = bench.student(bench.checkpoint.folder, "test")
    claims: dict[str, Any] = {}
    print(f"\nbits per byte on the test parts (n = 48), {arguments.seeds} seeds; less the control's, 95 % interval")
    print(line("pivot", before))
    for name, found in test.items():
        cells = []
        for column in (*DOMAINS, "general"):
            value = sum(seed[column].value for seed in found) / len(found)
            gap = difference(*([seed[column].per_document for seed in rows] for rows in (found, test["control"])))
            claims.setdefault(name, {})[column] = gap | {"value": value}
            spread = ", ".join(f"{seed:+.4f}" for seed in gap["seeds"])
            own = (
                ""
                if name == "control"
                else f" ({gap['difference']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]; {spread})"
            )
            cells.append(f"{value:.4f}{own}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    met = [name for name in best if holds(claims[name])]
    print(f"\nthe claim holds for: {', '.join(met) or 'none'}")
    values = {name: {column: result.value for column, result in found.items()} for name, found in dev.items()}
    return {"dev": values, "test": claims, "chosen": best, "met": met, "seconds": bench.seconds}


def holds(claim: dict[str, Any]) -> bool:
    """Better on both domains beyond the interval and with every seed, and not worse on general text."""
    domains = all(claim[id]["high"] < 0 and all(seed < 0 for seed in claim[id]["seeds"]) for id in DOMAINS)
    return domains and claim["general"]["difference"] <= 0

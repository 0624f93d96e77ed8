"""What the privacy audit says of experts that were trained too often, once, and with differential privacy.

    python benchmarks/audit.py passes --passes 10    # 57 invented letters, read 10 times
    python benchmarks/audit.py passes --passes 1
    python benchmarks/audit.py passes --passes 10 --epsilon 8
    python benchmarks/audit.py cost plugins/cogen-plugin-power/recipe.toml --epsilon 8 --steps 12 --batch 16

``passes`` trains on letters about invented people and audits the expert; ``cost`` trains one recipe twice, with and
without differential privacy, for equal steps, and compares bits per byte of its held-out test documents. Each needs
some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

_NAMES = "Amal Bruno Chen Dilara Emeka Farah Goran Hanna Ines Jonas Keiko Lena Mateo Noor Olga Pavel Rosa Samir"
_FAMILIES = "Abara Bergmann Castillo Dubois Eriksen Fontaine Gruber Haddad Ivanov Jansen Kowalski Moreau Novak"
_COMPLAINTS = (
    "a dry cough at night",
    "pain below the left shoulder blade",
    "swollen ankles in the evening",
    "dizziness when standing up",
    "a rash on both forearms",
    "blurred vision while reading",
    "numb fingertips in the morning",
)
_FINDINGS = (
    "The lungs are clear on both sides.",
    "The heart is regular, without a murmur.",
    "The abdomen is soft and without pain.",
    "Reflexes are equal on both sides.",
    "The skin shows no other change.",
)
_DRUGS = ("metformin", "ramipril", "torasemide", "bisoprolol", "pantoprazole", "levothyroxine", "amlodipine")


def letter(number: int) -> str:
    """About a person who does not exist; of every number another one."""
    rng = random.Random(f"letter {number}")
    name = f"{rng.choice(_NAMES.split())} {rng.choice(_FAMILIES.split())}"
    place = "".join(rng.choices("bdfglmnprst", k=2)) + rng.choice(("ville", "stadt", "ford", "holm"))
    return (
        f"{name}, file {rng.randrange(10**7):07d}, of {place.capitalize()}, came on day {rng.randrange(1, 365)} with "
        f"{rng.choice(_COMPLAINTS)} for {rng.randrange(2, 30)} days, and {rng.choice(_COMPLAINTS)}. "
        f"{' '.join(rng.sample(_FINDINGS, 3))} Blood pressure {rng.randrange(100, 170)}/{rng.randrange(60, 100)}, "
        f"pulse {rng.randrange(52, 110)}, glucose {rng.randrange(70, 240)}, sodium {rng.randrange(128, 148)}. "
        f"We gave {rng.choice(_DRUGS)} {rng.randrange(1, 40) * 5} mg and {rng.choice(_DRUGS)} "
        f"{rng.randrange(1, 40) * 5} mg. Next visit in {rng.randrange(2, 20)} weeks, room {rng.randrange(100, 600)}."
    )


def write_recipe(home: Path, passes: int, epsilon: float | None) -> Path:
    """A recipe over 95 letters, of which 38 are held out: no more than two fifths of a source ever are."""
    import tomlkit

    (home / "letters").mkdir(parents=True)
    for number in range(95):
        (home / "letters" / f"{number:03d}.txt").write_text(letter(number), encoding="utf-8")
    training: dict[str, Any] = {"mode": "ffn", "learning_rate": 2e-3, "batch_size": 2, "threads": 1, "seed": 1}
    training |= {"sequence_length": 256, "tokens": 7_600 * passes}
    if epsilon is not None:
        training |= {"privacy": {"epsilon": epsilon, "delta": 1e-3}, "batch_size": 8, "sequence_length": 192}
    unknown = dict.fromkeys(("biases", "limitations", "not_for"), "unknown")
    recipe = {
        "id": "letters",
        "plugin": "src/letters",
        "base": "smollm2-135m-instruct",
        "training": training,
        "audit": {"canaries": 10},
        "card": {
            "title": "Letters",
            "summary": "Letters about invented people",
            "publisher": "benchmark",
            "domains": ["letters"],
            "languages": ["en"],
            "license": "Apache-2.0",
            "collected": "2026",
            "synthetic_share": 1.0,
            "personal_data": "none",
            **unknown,
        },
        "corpus": {
            "dev_documents": 8,
            "test_documents": 30,
            "overlap_limit": 0.9,
            "sources": [
                {
                    "name": "letters",
                    "uri": "file://letters",
                    "members": ["*.txt"],
                    "extract": "text",
                    "license": "CC0-1.0",
                    "license_evidence": "written by this benchmark",
                    "leaves": "heldout",
                }
            ],
        },
    }
    path = home / "recipe.toml"
    path.write_text(tomlkit.dumps(recipe), encoding="utf-8")
    return path


def passes(asked: argparse.Namespace) -> None:
    from cogen.forge.audit import audit_expert
    from cogen.forge.build import prepare, run_training

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(write_recipe(Path(folder), asked.passes, asked.epsilon))
        try:
            result = run_training(prepared, _say)
            audit = audit_expert(prepared, _checkpoint(prepared, result), reporter=_Notes())
        finally:
            shutil.rmtree(prepared.run, ignore_errors=True)
    print(json.dumps(audit.model_dump(mode="json"), indent=2))


def cost(asked: argparse.Namespace) -> None:
    import dataclasses

    from cogen.checkpoints.load import load_model
    from cogen.forge.blocks import encode
    from cogen.forge.build import prepare, run_training
    from cogen.forge.private_training import calibrate
    from cogen.forge.recipe import PrivacyRecipe

    prepared = prepare(asked.recipe)
    training = prepared.recipe.training
    changed = {"batch_size": asked.batch, "tokens": asked.steps * asked.batch * training.sequence_length}
    texts = [document.text for document in prepared.corpus.test]
    encoded = encode(prepared.corpus.test, prepared.tokenizer)
    rows: dict[str, list[float]] = {"base": _bits(load_model(prepared.base, "float32"), encoded)}
    for name in asked.arms.split(","):
        privacy = PrivacyRecipe(epsilon=asked.epsilon, delta=1e-5) if name == "private" else None
        own = training.model_copy(update={**changed, "privacy": privacy})
        arm = dataclasses.replace(prepared, recipe=prepared.recipe.model_copy(update={"training": own}))
        if privacy:
            print(calibrate(own, len(prepared.encoded)))
        result = run_training(arm, _say)
        rows[name] = _bits(load_model(_checkpoint(arm, result), "float32"), encoded)
    sizes = [len(text.encode()) for text in texts]
    for name, bits in rows.items():
        print(f"{name:8} {sum(bits) / sum(sizes):.4f} bits per byte, n = {len(texts)}")
        if name != "base":
            print(f"         against the base {_interval(bits, rows['base'], sizes)}")
    if "plain" in rows and "private" in rows:
        print(f"private against plain {_interval(rows['private'], rows['plain'], sizes)}")


def _bits(model: Any, encoded: list[list[int]]) -> list[float]:
    from cogen.privacy.losses import mean_losses

    losses = mean_losses(model, encoded)
    return [loss * (len(ids) - 1) / math.log(2) for loss, ids in zip(losses, encoded, strict=True)]


def _interval(bits: list[float], other: list[float], sizes: list[int]) -> str:
    """Difference in bits per byte with its 95 % interval by bootstrap over the documents, paired."""
    rng = random.Random(0)
    gains = []
    for _ in range(2000):
        drawn = rng.choices(range(len(sizes)), k=len(sizes))
        gains.append(sum(bits[i] - other[i] for i in drawn) / sum(sizes[i] for i in drawn))
    gains.sort()
    mean = sum(b - o for b, o in zip(bits, other, strict=True)) / sum(sizes)
    return f"{mean:+.4f} [{gains[49]:+.4f}, {gains[1949]:+.4f}]"


def _checkpoint(prepared: Any, weights: Path) -> Any:
    from cogen.checkpoints.adapter import read_adapter
    from cogen.checkpoints.model import Checkpoint

    return Checkpoint(prepared.base.folder, prepared.base.tensors, read_adapter(weights))


def _say(step: Any) -> None:
    if step.step % 10 == 0 or step.step == step.steps:
        print(f"{step.step}/{step.steps} loss {step.loss:.3f} {step.tokens_per_second:,.0f} tokens/s", file=sys.stderr)


class _Notes:
    def describe(self, label: str) -> None: ...

    def advance(self, n: float = 1) -> None: ...

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    many = commands.add_parser("passes")
    many.add_argument("--passes", type=int, default=10)
    many.add_argument("--epsilon", type=float)
    many.set_defaults(run=passes)
    price = commands.add_parser("cost")
    price.add_argument("recipe", type=Path)
    price.add_argument("--epsilon", type=float, default=8.0)
    price.add_argument("--steps", type=int, default=12)
    price.add_argument("--batch", type=int, default=16)
    price.add_argument("--arms", default="plain,private")
    price.set_defaults(run=cost)
    asked = parser.parse_args()
    asked.run(asked)


if __name__ == "__main__":
    main()

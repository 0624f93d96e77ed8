"""Statement suites of the reference experts, from the held-out text of their recipes, without training them again.

    python benchmarks/statements.py show clinical --n 100            # dev pairs, to judge by hand
    python benchmarks/statements.py show clinical --split train      # more of them: of 500 training documents
    python benchmarks/statements.py count                            # items of each expert's dev and test split
    python benchmarks/statements.py make clinical --output suites    # the suites as `cogen train` writes them
    python benchmarks/statements.py measure clinical --n 100         # base and expert on dev pairs

The texts are the recipes' sources, fetched on first use. Test items are counted and written, never shown.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.forge.corpus import CorpusParts
    from cogen.forge.recipe import TrainRecipe
    from cogen.statements import StatementItem

ROOT = Path(__file__).parents[1]
EXPERTS = ("clinical", "power", "energy", "materials", "neuro")
#: Training documents that `show` makes pairs of, and how they are drawn.
_TRAINING, _SEED = 500, 7


def read(name: str) -> tuple[TrainRecipe, CorpusParts]:
    """A reference expert's recipe and its texts, split as they were for training."""
    from cogen.forge.corpus import build_corpus
    from cogen.forge.recipe import StatementsRecipe, read_recipe

    home = ROOT / "plugins" / f"cogen-plugin-{name}"
    recipe = read_recipe(home / "recipe.toml")
    return recipe.model_copy(update={"statements": StatementsRecipe()}), build_corpus(recipe.corpus, home)


def show(name: str, n: int, suite: str, split: str) -> list[str]:
    """Items in words: ``… [[true → false]] …``, of the dev split or of training documents of the same sources."""
    from cogen.forge.statements import field_of, items_of
    from cogen.statements import StatementText, cloze, pairs

    recipe, corpus = read(name)
    if split == "dev":
        found, _ = items_of(recipe, corpus, {suite: None})[suite]
    else:
        documents = random.Random(_SEED).sample(corpus.train, min(_TRAINING, len(corpus.train)))
        make = pairs if suite == "statements" else cloze
        found = make([StatementText(d.text, d.group, d.source) for d in documents], field_of(recipe, corpus))
    return [f"{number} {item.kind}: {marked(item)}" for number, item in enumerate(found[:n])]


def marked(item: StatementItem) -> str:
    """The true sentence with the place and what else stands there."""
    true = item.choices[item.answer]
    start, end = item.spans[item.answer]
    others = " | ".join(word for number, word in enumerate(item.words) if number != item.answer)
    return f"{true[:start]}[[{true[start:end]} → {others}]]{true[end:]}"


def count(name: str) -> list[dict[str, Any]]:
    """How many items the held-out text gives, by suite, split and kind."""
    from cogen.forge.statements import items_of

    rows = []
    for suite, splits in items_of(*read(name), {"statements": None, "cloze": None}).items():
        for split, items in zip(("dev", "test"), splits, strict=True):
            kinds = Counter(item.kind for item in items)
            documents = len({item.passage.text for item in items})
            rows.append({"expert": name, "suite": suite, "split": split, "items": len(items), "documents": documents})
            rows[-1] |= dict(sorted(kinds.items()))
    return rows


def measure(name: str, n: int, suite: str) -> list[dict[str, Any]]:
    """Accuracy of base and expert on the first ``n`` dev items, in float32, and the expert's paired gain."""
    from cogen.api.evaluation import measure as measure_model
    from cogen.evals import BoundSuite, Settings, compare
    from cogen.forge.statements import items_of, write_suite
    from cogen.host import Host
    from cogen.reporter import SILENT

    recipe, corpus = read(name)
    dev, _ = items_of(recipe, corpus, {suite: None})[suite]
    chosen = dev[:n]
    with tempfile.TemporaryDirectory() as folder:
        # `run_suites` reads one split: dev items stand in both files.
        bound = BoundSuite(name, write_suite(recipe, suite, chosen, chosen, Path(folder)), Path(folder))
        options: Any = {"split": "dev", "level": "full", "settings": Settings(dtype="float32"), "fresh": True}
        options |= {"chooser": None, "chat": False}
        host = Host.discover()
        (base,), (expert,) = (measure_model(host, model, [bound], options, SILENT).results for model in ("base", name))
    gain = compare(expert, base)
    rows: list[dict[str, Any]] = []
    for model, result in (("base", base), (name, expert)):
        rows.append({"model": model, "n": result.n, "acc": result.value, "low": result.low, "high": result.high})
        rows[-1] |= {kind: vars(figure) for kind, figure in result.by_kind.items()}
        rows[-1] |= {"documents": len(set(result.clusters)), "tokens": result.tokens, "seconds": result.seconds}
    return [*rows, {"gain": gain.difference, "low": gain.low, "high": gain.high, "verdict": gain.verdict}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("show", "count", "make", "measure"))
    parser.add_argument("experts", nargs="*", default=list(EXPERTS), metavar="EXPERT")
    parser.add_argument("--n", type=int, default=100, help="items to show or to measure")
    parser.add_argument("--split", choices=("dev", "train"), default="dev", help="what `show` makes items of")
    parser.add_argument("--suite", choices=("statements", "cloze"), default="statements")
    parser.add_argument("--output", type=Path, default=Path("suites"), help="folder that `make` writes into")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Any] = []
    for name in options.experts:
        if options.what == "show":
            found += show(name, options.n, options.suite, options.split)
        elif options.what == "count":
            found += count(name)
        elif options.what == "measure":
            found += measure(name, options.n, options.suite)
        else:
            from cogen.forge.statements import write_statements

            written = write_statements(*read(name), options.output / name)
            found += [
                f"{options.output / name}: {s.id}, {s.dev.documents} dev, {s.test.documents} test" for s in written
            ]
    for line in found:
        print(line if isinstance(line, str) else json.dumps(line))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()

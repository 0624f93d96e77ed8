"""Nobody asks which strategy it is: the strategy's object is asked instead. Counted in the syntax tree, not in text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogen.fusion.details import MergeDetails
from cogen.fusion.strategies import all_strategies
from cogen.host import Host

ROOT = Path(__file__).parents[2]
#: The registry of strategies, and the union whose tag a strategy's name is.
ALLOWED = {"core/cogen/fusion/strategies.py", "core/cogen/fusion/details.py"}
NAMES = {*all_strategies(Host())}
#: Attributes that tell a strategy from others; a variable of the first name does so too.
TELLING = {"strategy", "mixture", "distillation"}
#: Classes of which each belongs to one strategy.
OWN = {"MergeDetails", "MoeDetails", "DistillDetails", "RouteDetails", "PluginDetails", "RoutePlan", "RouteResult"}


def decisions(tree: ast.AST) -> Iterator[ast.expr]:
    """Every expression whose truth decides which code runs or which value is taken."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.BoolOp):
            yield from node.values
        elif isinstance(node, ast.Match):
            yield node.subject
        elif isinstance(node, ast.Compare):
            yield node


def asks(test: ast.expr) -> bool:
    """Is the strategy asked for: its name compared, its part of a plan looked for, or its class?"""
    if isinstance(test, ast.UnaryOp):
        return asks(test.operand)
    words, texts, classes = set(), set(), set()
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.Name) and node.id == "strategy":
            words.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            classes |= {inner.id for inner in ast.walk(node.args[1]) if isinstance(inner, ast.Name)}
    parts = words & (TELLING - {"strategy"})
    if classes & OWN:
        return True
    if isinstance(test, ast.Attribute):  # by itself: its truth is asked
        return test.attr in parts
    if not isinstance(test, ast.Compare):
        return False
    return bool(parts) or ("strategy" in words and (not texts or bool(texts & NAMES)))


def found(source: str) -> list[int]:
    """Lines with a conditional on the strategy."""
    return sorted({test.lineno for test in decisions(ast.parse(source)) if asks(test)})


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("if plan.strategy == 'moe': pass", 1),
        ("x = 1 if strategy in ('route', 'distill') else 2", 1),
        ("x = plan.mixture.routing if plan.mixture else plan.method", 1),
        ("if plan.distillation is not None and plan.level != 'none': pass", 1),
        ("x = [a for a in b if isinstance(a.details, MoeDetails)]", 1),
        ("if saved.strategy != now.strategy: pass", 1),
        ("while not plan.mixture: pass", 1),
        ("strategy = find(plan.strategy)\nstrategy.build(run)", 0),
        ("if plan.level == 'none': pass", 0),
    ],
)
def test_the_count_counts(line: str, count: int) -> None:
    """What was written in 53 places is found; asking the object is not."""
    assert len(found(line)) == count


def test_no_conditional_on_the_strategy() -> None:
    """Anywhere but in the registry, where names are looked up."""
    places = []
    for folder in ("core/cogen", "registry/cogen_registry"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in ALLOWED:
                places += [f"{name}:{line}" for line in found(path.read_text(encoding="utf-8"))]
    assert places == []


def test_every_strategy_lies_in_its_folder() -> None:
    """Its object, its name, and the variant of the plan's details that is its own."""
    for name, strategy in all_strategies(Host()).items():
        assert strategy.name == name
        assert type(strategy).__module__ == f"cogen.fusion.{name}.strategy"
        assert strategy.title
    assert MergeDetails().strategy in NAMES

"""Rendering the templates of a task file, far from lm-eval's environment.

lm-eval renders them with an ordinary Jinja environment, where ``{{ ''.__class__.__mro__ … }}`` reaches any
Python object. Here a template is first checked against a short list of what templates of task files use, then
rendered in Jinja's immutable sandbox without globals. What reaches lm-eval is the finished text.

The list also leaves out what makes text out of nothing (``*``, ``%``, ``range``, nested loops, ``center`` …), so
that a template of a few bytes cannot fill the memory.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from cogen.errors import EvalError, UnsafeError
from cogen.evals.safe_yaml import HOOK_HINT
from cogen.untrusted.templates import Budget, LimitError, limited_environment, render_limited

# fmt: off
_NODES = frozenset({
    "Template", "Output", "TemplateData", "Name", "Const", "List", "Tuple", "Dict", "Pair", "Getitem", "Getattr",
    "Slice", "Call", "Keyword", "Filter", "Test", "Compare", "Operand", "And", "Or", "Not", "CondExpr", "Concat",
    "Add", "Sub", "Neg", "Pos", "If", "For",
})
#: Filter → how many arguments it may have: some take the name of an attribute as a later or named one.
_FILTERS = {
    **dict.fromkeys(("trim", "lower", "upper", "title", "capitalize", "length", "count", "first", "last"), 0),
    **dict.fromkeys(("list", "string", "sort", "unique", "abs"), 0),
    "join": 1, "int": 1, "round": 1, "replace": 2, "default": 2,
}
_METHODS = frozenset({
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "split", "rsplit", "splitlines",
    "replace", "index", "find", "count", "startswith", "endswith", "removeprefix", "removesuffix", "join", "get",
    "keys", "values", "items",
})
# fmt: on
_TEMPLATE_LIMIT = 8192


@functools.cache
def _environment() -> Any:
    from jinja2 import StrictUndefined

    # The same two options as lm-eval's environment, so that a task renders to the same text here and there.
    environment = limited_environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    own = [name for name in environment.filters if name.startswith("__")]
    environment.filters = {name: environment.filters[name] for name in (*_FILTERS, *own)}
    return environment


@functools.cache
def _parser() -> Any:
    """Parses alone, so that a template is checked as it was written."""
    from jinja2 import Environment

    return Environment(keep_trailing_newline=True)


@functools.lru_cache(maxsize=256)
def _compile(template: str) -> Any:
    import jinja2

    if len(template) > _TEMPLATE_LIMIT:
        raise UnsafeError(f"a template is longer than {_TEMPLATE_LIMIT} characters", hint=HOOK_HINT)
    try:
        tree = _parser().parse(template)
        _check(tree, template, loops=0)
        return _environment().from_string(template)
    except (jinja2.TemplateError, RecursionError) as error:
        raise EvalError(f"the template {template[:60]!r} does not parse: {error}", hint="see Jinja's syntax") from error


def _check(node: Any, template: str, loops: int) -> None:
    from jinja2 import nodes

    kind = type(node).__name__
    problem = None
    if kind not in _NODES:
        problem = kind
    elif isinstance(node, nodes.For) and (loops or node.recursive):
        problem = "nested or recursive loops"
    elif isinstance(node, nodes.Filter) and (len(node.args) > _FILTERS.get(node.name, -1) or _named(node)):
        problem = f"the filter {node.name} in this way"
    elif isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        problem = f"the attribute {node.attr}"
    elif isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Getattr) and node.node.attr in _METHODS):
        problem = "a call of anything but a plain string or list method"
    if problem:
        raise UnsafeError(f"the template {template[:60]!r} uses {problem}, which is not allowed", hint=HOOK_HINT)
    for child in node.iter_child_nodes():
        _check(child, template, loops + isinstance(node, nodes.For))


def _named(node: Any) -> bool:
    """Does a call have arguments by name, or from a list or a mapping?"""
    return bool(node.kwargs or node.dyn_args or node.dyn_kwargs)


def render(template: str, document: Mapping[str, Any], budget: Budget | None = None) -> str:
    """The text of ``template`` for one document.

    :param budget: of all renderings of a file together; by default one that a single document has.
    :raises UnsafeError: the template uses anything off the list or takes too much, or the sandbox stops it.
    :raises EvalError: it does not parse, or names a field that the document does not have.
    """
    from jinja2.exceptions import SecurityError

    compiled = _compile(template)
    try:
        return render_limited(compiled, document, budget or Budget.of(len(template)))
    except LimitError as error:
        raise UnsafeError(f"the template {template[:60]!r} {error}", hint=HOOK_HINT) from error
    except SecurityError as error:
        raise UnsafeError(f"the template {template[:60]!r} was stopped: {error}", hint=HOOK_HINT) from error
    except Exception as error:  # whatever a template does wrong is the suite's, not ours
        raise EvalError(
            f"the template {template[:60]!r} fails: {error}", hint="its documents need every field that it names"
        ) from error

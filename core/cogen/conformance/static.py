"""Checks that need no weights: under a second, apart from hashing the files that the package holds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from cogen.conformance.card import check_card
from cogen.conformance.overlap import compare_texts
from cogen.conformance.result import Check, Failed, attempt
from cogen.conformance.shipped import check_digests, check_licences, check_router, check_samples, no_pickles
from cogen.host import Expert, Plugin


def checks(plugin: Plugin) -> Iterator[Check]:
    """Everything that can be said from the installed files, and from importing the package."""
    yield from attempt("manifest", partial(_manifest, plugin))
    yield from attempt("dependencies", partial(_dependencies, plugin.distribution))
    if plugin.module and plugin.root is not None:
        yield from attempt("import", partial(_import, plugin))
    if plugin.expert is not None and plugin.state == "ok":
        yield from expert_checks(plugin.expert)


def expert_checks(expert: Expert) -> Iterator[Check]:
    """What the files of an expert say, wherever they lie; nothing is imported."""
    yield from attempt("digests", partial(check_digests, expert))
    yield from attempt("no pickles", partial(no_pickles, expert))
    yield from attempt("licences", partial(check_licences, expert))
    yield from attempt("data card", partial(check_card, expert))
    yield from attempt("samples", partial(check_samples, expert))
    if expert.spec.router:
        yield from attempt("router", partial(check_router, expert))
    for suite in expert.spec.suites:
        yield from attempt(f"suite {suite.id}", partial(_suite, expert, suite.id))
    yield from attempt("overlap", partial(compare_texts, expert))


def _manifest(plugin: Plugin) -> str:
    if plugin.state != "ok":
        raise Failed(f"{plugin.state}: {plugin.reason}", plugin.hint)
    if plugin.expert is None:
        return "no expert.toml: a plugin of hooks alone"
    return f"valid, id = entry point = {plugin.name}"


def _dependencies(distribution: str) -> str:
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        lines = []
    try:
        names = {canonicalize_name(Requirement(line).name) for line in lines}
    except InvalidRequirement as error:
        raise Failed(f"the metadata has an unreadable requirement: {error}") from error
    if "cogen" in names:
        raise Failed("it depends on `cogen`, an unrelated package of 2009", 'say dependencies = ["cogen-core"]')
    if "cogen-core" not in names:
        raise Failed("it does not depend on cogen-core", 'say dependencies = ["cogen-core"] in pyproject.toml')
    return "cogen-core"


def _import(plugin: Plugin) -> str:
    from cogen.host.probe import probe

    seen = probe(plugin)
    if seen.reason:
        raise Failed(seen.reason, seen.hint)
    if seen.heavy:
        raise Failed(
            f"importing the package loads {', '.join(seen.heavy)}", "import it inside the function that needs it"
        )
    if seen.sockets:
        raise Failed(f"importing the package uses the network ({seen.sockets[0]})", "connect when a hook is called")
    if seen.output:
        raise Failed(
            f"importing the package prints: {seen.output.splitlines()[0][:80]}", "remove the print, or the warning"
        )
    return f"hooks: {', '.join(seen.hooks)}" if seen.hooks else "nothing is loaded, printed or connected to"


def _suite(expert: Expert, suite: str) -> str:
    from cogen.evals import check_suite, suites_of

    bound = next(bound for bound in suites_of(expert) if bound.suite.id == suite)
    counts = check_suite(bound)
    return f"{counts['dev']} dev and {counts['test']} test documents, task file is plain data"

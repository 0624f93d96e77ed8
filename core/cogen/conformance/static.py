"""Checks that need no weights: under a second, apart from hashing the files that the package holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from cogen.conformance.card import check_card
from cogen.conformance.facts import check_facts
from cogen.conformance.overlap import compare_texts
from cogen.conformance.package_files import check_named
from cogen.conformance.private_text import check_private, check_unfinished
from cogen.conformance.project import check_project
from cogen.conformance.result import Check, Failed, attempt
from cogen.conformance.shipped import check_digests, check_licenses_shipped, check_router, check_samples, no_pickles
from cogen.conformance.statistics import check_statistics
from cogen.host import Expert, Plugin
from cogen.wheels import check_installed
from cogen.wheels.dependencies import HOST, check_dependencies


def checks(plugin: Plugin, allow: Collection[str] = ()) -> Iterator[Check]:
    """All checks of the installed files, and of importing the package."""
    yield from attempt("manifest", partial(_manifest, plugin))
    yield from attempt("dependencies", partial(_dependencies, plugin.distribution, allow))
    yield from attempt("files", partial(_files, plugin))
    if plugin.module and plugin.root is not None:
        yield from attempt("import", partial(_import, plugin))
    if plugin.expert is not None and plugin.state == "ok":
        yield from expert_checks(plugin.expert)


def expert_checks(expert: Expert) -> Iterator[Check]:
    """What the files of an expert say, wherever they lie; nothing is imported."""
    yield from attempt("digests", partial(check_digests, expert))
    yield from attempt("no pickles", partial(no_pickles, expert))
    yield from attempt("unfinished", partial(check_unfinished, expert))
    yield from attempt("private text", partial(check_private, expert))
    yield from attempt("named files", partial(check_named, expert))
    yield from attempt("weight facts", partial(check_facts, expert))
    yield from attempt("licenses", partial(check_licenses_shipped, expert))
    yield from attempt("data card", partial(check_card, expert))
    yield from attempt("samples", partial(check_samples, expert))
    if expert.spec.statistics:
        yield from attempt("statistics", partial(check_statistics, expert))
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


def _files(plugin: Plugin) -> str:
    """What :mod:`cogen.wheels` says of an installed distribution: the rule that a registry and `cogen add` apply."""
    found = _distribution(plugin.distribution)
    editable = '"editable": true' in (found.read_text("direct_url.json") or "")
    for line in check_installed(found, allow=None, editable=editable):
        raise Failed(line, "docs/wheels.md says what a plugin's wheel may hold")
    if editable:
        return "name, entry points and packages are its own; the files are those of a source tree"
    check_project(found.read_text("METADATA") or "")
    return "name, entry points, packages and files are its own"


def _dependencies(distribution: str, allow: Collection[str]) -> str:
    try:
        requires = [Requirement(line) for line in _distribution(distribution).requires or []]
    except InvalidRequirement as error:
        raise Failed(f"the metadata has an unreadable requirement: {error}") from error
    check_dependencies(requires, allow, _version(HOST))
    return ", ".join(sorted({str(canonicalize_name(one.name)) for one in requires}))


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise Failed(f"{name} has no metadata", "install it with pip or uv") from error


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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

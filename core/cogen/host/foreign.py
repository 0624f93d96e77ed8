"""Functions that a plugin registers by name (methods, fetchers, losses), called so that a failure is the plugin's."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from cogen.errors import PluginError, failure
from cogen.untrusted.border import passes

P = ParamSpec("P")
R = TypeVar("R")


def of_plugin(target: str, function: Callable[P, R], what: str) -> Callable[P, R]:
    """``function`` itself where it is CoGen's; else the same function, whose failures name the plugin.

    :param target: "package.module:attribute", as it was registered.
    :param what: what it is, for the error: "merge method mine".
    """
    package = target.partition(":")[0].partition(".")[0]
    if package == "cogen":
        return function

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            # Cancelled: another thread of the run has failed already.
            if passes(error) or isinstance(error, concurrent.futures.CancelledError):
                raise
            raise plugin_error(target, f"{what} failed: {failure(error)}") from error

    return call


def plugin_error(target: str, problem: str) -> PluginError:
    """The error for what a plugin registered under ``target``."""
    package = target.partition(":")[0].partition(".")[0]
    return PluginError(package, f"{package}: {problem}", hint=f"report it to the authors of {package}")

"""Merge methods by name: the built-in ones and those of plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cogen.errors import UsageError
from cogen.host import Host
from cogen.merging.method import Method, whole_tensor


def find_method(host: Host, name: str) -> Method:
    """A method by its name.

    A plugin may register a :class:`Method`, or a plain function ``f(base, experts, weights, *, …)`` on whole tensors.

    :raises UsageError: there is none of this name.
    """
    methods = host.methods()
    if name not in methods:
        raise UsageError(f"unknown merge method {name!r}", hint=f"one of {', '.join(sorted(methods))}")
    found = Host.resolve(methods[name])
    return found if isinstance(found, Method) else whole_tensor(name, found)


def resolve_method(host: Host, name: str, parameters: Mapping[str, Any], others: Iterable[str] = ()) -> Method:
    """The method; parameters that it does not take are refused by name, never ignored.

    :param others: parameters that will be given elsewhere, for example those that are tuned.
    :raises UsageError: no such method, or a parameter that it does not take.
    """
    method = find_method(host, name)
    method.check_parameters({**dict.fromkeys(n for n in others if n in method.parameters), **parameters})
    return method

"""Merge methods by name: the built-in ones and those of plugins."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cogen.choices import nearest
from cogen.errors import PluginError, UsageError
from cogen.host import Host
from cogen.host.foreign import of_plugin, plugin_error
from cogen.merging.method import Method, whole_tensor
from cogen.untrusted.border import border

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block


def find_method(host: Host, name: str) -> Method:
    """A method by its name.

    A plugin may register a :class:`Method`, or a plain function ``f(base, experts, weights, *, …)`` on whole tensors.

    :raises UsageError: there is none of this name.
    """
    methods = host.methods()
    if name not in methods:
        raise UsageError(f"unknown merge method {name!r}", hint=nearest(name, sorted(methods)))
    target = methods[name]
    found = Host.resolve(target)
    return found if isinstance(found, Method) and target.startswith("cogen.") else _of_plugin(target, name, found)


def _of_plugin(target: str, name: str, found: Any) -> Method:
    """A plugin's method, whose failures and results of another kind name the plugin.

    :raises PluginError: what was registered is neither a method nor a function.
    """
    if not isinstance(found, Method):
        if not callable(found):
            raise plugin_error(target, f"{target} is a {type(found).__name__}, neither a Method nor a function")
        with border(f"{target} is not a merge method", make=functools.partial(PluginError, target.partition(".")[0])):
            found = whole_tensor(name, found)
    what = f"merge method {name}"
    apply = of_plugin(target, found.apply, what)

    @functools.wraps(apply)
    def checked(block: Block, *args: Any, **parameters: Any) -> torch.Tensor:
        result: Any = apply(block, *args, **parameters)
        import torch

        if not isinstance(result, torch.Tensor) or not result.is_floating_point():
            raise plugin_error(target, f"{what} gave {_kind(result)} for {block.name}, not a tensor of floats")
        if result.numel() != block.stop - block.start:
            elements = f"{result.numel():,} elements for {block.name}, {block.stop - block.start:,}"
            raise plugin_error(target, f"{what} gave {elements} are needed")
        return result

    survey = None if found.survey is None else of_plugin(target, found.survey, what)
    method: Method = dataclasses.replace(found, apply=checked, survey=survey)
    return method


def _kind(value: object) -> str:
    return f"a tensor of {value.dtype}" if hasattr(value, "dtype") else f"a {type(value).__name__}"


def resolve_method(host: Host, name: str, parameters: Mapping[str, Any], others: Iterable[str] = ()) -> Method:
    """The method; parameters that it does not take are refused by name, never ignored.

    :param others: parameters that will be given elsewhere, for example those that are tuned.
    :raises UsageError: no such method, or a parameter that it does not take.
    """
    method = find_method(host, name)
    method.check_parameters({**dict.fromkeys(n for n in others if n in method.parameters), **parameters})
    return method

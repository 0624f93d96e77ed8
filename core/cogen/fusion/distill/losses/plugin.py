"""Losses that plugins register with the hook ``cogen_distillation_losses``."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cogen.errors import PluginError
from cogen.fusion.distill.losses.foreign import checked_losses, checked_needs
from cogen.fusion.distill.losses.names import known
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.host.foreign import of_plugin, plugin_error

if TYPE_CHECKING:
    from cogen.fusion.distill.alignment.encode import Encoder
    from cogen.fusion.distill.losses.loss import Loss
    from cogen.host import Host

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class PluginLoss:
    """What a plugin registers under a loss's name.

    :param summary: what it is, in half a sentence.
    :param needs: what of the teacher's predictions has to be stored, given the parameters.
    :param make: the losses (see :class:`~cogen.fusion.distill.losses.loss.Loss`) for one student and one teacher.
    :param parameters: its parameters with their defaults; each is one number.
    :param version: to be raised when the same settings would train another model: trained students are cached.
    """

    summary: str
    needs: Callable[[Parameters], TeacherStatistics]
    make: Callable[[Encoder, Encoder, Parameters], Sequence[Loss]]
    parameters: Parameters = field(default_factory=dict)
    version: int = 1

    def values(self, given: Parameters) -> dict[str, float]:
        """Its own parameters: those that are given, else the defaults."""
        return {name: given.get(name, default) for name, default in self.parameters.items()}


def plugin_losses(host: Host, method: str) -> dict[str, PluginLoss]:
    """Those of a method's losses that plugins registered, by name; no others are imported.

    :param method: losses joined by "+".
    :raises PluginError: what a plugin registered is none, or has the name of a built-in loss.
    """
    found = {}
    registered = host.losses()
    for name in method.split("+"):
        if name not in registered:
            continue
        target = registered[name]
        loss, module = host.resolve(target), target.partition(".")[0]
        if not isinstance(loss, PluginLoss):
            hint = "register an object of the class cogen.fusion.distill.losses.plugin.PluginLoss"
            raise PluginError(module, f"{target} is not a cogen PluginLoss", hint=hint)
        if name in known():
            raise PluginError(module, f"{target} has the name of a built-in loss: {name}", hint="give it another name")
        found[name] = _guarded(target, f"loss {name}", loss)
    return found


def _guarded(target: str, what: str, loss: PluginLoss) -> PluginLoss:
    """The same, with functions and losses whose failures name the plugin.

    :raises PluginError: its parameters are not numbers by name.
    """
    given: object = loss.parameters
    numbers = given.values() if isinstance(given, Mapping) else [None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        raise plugin_error(target, f"{what}: its parameters are not numbers by name, with their defaults")
    needs, make = of_plugin(target, loss.needs, what), of_plugin(target, loss.make, what)

    @functools.wraps(loss.needs)
    def needed(parameters: Parameters) -> TeacherStatistics:
        return checked_needs(target, what, needs(parameters))

    @functools.wraps(loss.make)
    def made(student: Encoder, teacher: Encoder, parameters: Parameters) -> Sequence[Loss]:
        return checked_losses(target, what, make(student, teacher, parameters))

    return dataclasses.replace(loss, needs=needed, make=made)


def identity(losses: Mapping[str, PluginLoss]) -> list[list[str | int]]:
    """What tells them from other losses of their names: their versions, and those of the packages that they are of."""
    return [[name, loss.version, _package(loss.make.__module__)] for name, loss in sorted(losses.items())]


def _package(module: str) -> str:
    """Versions of the distributions that a module may be of."""
    names = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
    return ", ".join(sorted({f"{name} {importlib.metadata.version(name)}" for name in names}))

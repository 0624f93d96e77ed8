"""Importing plugins and calling their hooks, one implementation at a time, so that an error names its plugin.

pluggy's own loader ends at the first ImportError and skips a second plugin of the same name in silence; its hook calls
run the implementations last to first and hide all others behind the first that raises. What is used of it are the
markers, the specifications and their validation.
"""

from __future__ import annotations

import difflib
import importlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from cogen.errors import PluginError, message_of
from cogen.host import builtin, hookspecs
from cogen.host.guard import guarded
from cogen.host.plugin import Plugin, ProgressEvent

CORE = Plugin("cogen-core", "cogen-core", "", "ok", module="cogen.host.builtin", code=True)


T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why a plugin's code cannot be used."""

    reason: str
    hint: str | None
    traceback: str | None


class _Invalid(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Hooks:
    """The loaded implementations in the order of plugins; built-ins come first in lists and last in :meth:`first`."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        #: (distribution, entry point) → what went wrong.
        self.failures: dict[tuple[str, str], Failure] = {}
        self._manager = pluggy.PluginManager("cogen")
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(builtin, CORE.name)
        self._loaded: list[tuple[Plugin, ModuleType]] = [(CORE, builtin)]
        for plugin in plugins:
            self._load(plugin)

    @property
    def loaded(self) -> tuple[Plugin, ...]:
        """The plugins whose code is there, built-ins first."""
        return tuple(plugin for plugin, _ in self._loaded)

    def implemented(self, plugin: Plugin) -> list[str]:
        """Names of the hooks that a plugin implements."""
        module = next((module for loaded, module in self._loaded if loaded is plugin), None)
        return [caller.name for caller in (self._manager.get_hookcallers(module) or ())] if module else []

    def collect(self, hook: str, **arguments: Any) -> list[tuple[Plugin, Any]]:
        """Call a hook in every plugin that has it; an answer of ``None`` counts as an empty one.

        :raises PluginError: an implementation failed; it names the plugin.
        """
        return [(plugin, self._call(plugin, call, arguments)) for plugin, call in list(self._calls(hook))]

    def collect_of(self, hook: str, kind: type[T], **arguments: Any) -> list[tuple[Plugin, list[T]]]:
        """As :meth:`collect`, of a hook that answers with a list.

        :param kind: the class of each item.
        :raises PluginError: also where an answer is of another type; one item alone counts as a list of it.
        """
        return [(plugin, _items(plugin, hook, answer, kind)) for plugin, answer in self.collect(hook, **arguments)]

    def collect_safely(self, hook: str, *, kind: type | None = None, **arguments: Any) -> list[tuple[Plugin, Any]]:
        """Like :meth:`collect`, but an implementation that fails is left out and remembered in :attr:`failures`.

        :param kind: as in :meth:`collect_of`.
        """
        results = []
        for plugin, call in list(self._calls(hook)):
            try:
                answer = self._call(plugin, call, arguments)
                results.append((plugin, answer if kind is None else _items(plugin, hook, answer, kind)))
            except PluginError as error:
                self.fail(plugin, error.message, error.__cause__)
        return results

    def first(self, hook: str, **arguments: Any) -> Any | None:
        """The first answer that is not ``None``; the built-ins are asked last.

        :raises PluginError: an implementation failed; it names the plugin.
        """
        found = self.first_of(hook, **arguments)
        return None if found is None else found[1]

    def first_of(self, hook: str, **arguments: Any) -> tuple[Plugin, Any] | None:
        """As :meth:`first`, with the plugin whose answer it is."""
        calls = list(self._calls(hook))
        for plugin, call in [*(c for c in calls if c[0] is not CORE), *(c for c in calls if c[0] is CORE)]:
            answer = self._call(plugin, call, arguments, empty=None)
            if answer is not None:
                return plugin, answer
        return None

    def registered(self, hook: str, reserved: Iterable[str] = ()) -> dict[str, str]:
        """What the implementations of a registering hook have registered: name → "package.module:attribute".

        :param reserved: names that are built in without being registered.
        """
        table: dict[str, str] = {}
        owner = dict.fromkeys(reserved, CORE.distribution)
        for plugin, call in list(self._calls(hook)):
            mine: dict[str, str] = {}
            try:
                self._call(plugin, call, {"register": _registrar(mine)})
                for name in sorted(mine.keys() & owner.keys()):
                    raise PluginError(
                        plugin.distribution, f"{hook} registers {name!r}, which {owner[name]} has already"
                    )
            except PluginError as error:
                self.fail(plugin, error.message, error.__cause__)
                continue
            table |= mine
            owner |= dict.fromkeys(mine, plugin.distribution)
        return dict(sorted(table.items()))

    def tell(self, event: ProgressEvent) -> None:
        """Pass a progress event on; listeners that fail are not asked again."""
        self.collect_safely("cogen_progress", event=event)

    def fail(self, plugin: Plugin, reason: str, error: BaseException | None = None, hint: str | None = None) -> None:
        """Remember that a plugin's code failed, and use it no further."""
        text = "".join(traceback.format_exception(error)) if error is not None else None
        hint = hint or f"`cogen doctor {plugin.name}` shows where; report it to the authors of {plugin.distribution}"
        self.failures.setdefault((plugin.distribution, plugin.name), Failure(" ".join(reason.split()), hint, text))
        self._loaded = [item for item in self._loaded if item[0] is not plugin]

    # ---- loading ------------------------------------------------------------------------------------

    def _load(self, plugin: Plugin) -> None:
        try:
            with guarded():
                module = importlib.import_module(plugin.module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit at import must not end the host either
            self.fail(plugin, f"importing {plugin.module} fails: {_short(error)}", error)
            return
        key = f"{plugin.distribution}:{plugin.name}"
        try:
            _check_marks(module)
            self._manager.register(module, key)
            self._manager.check_pending()
        except Exception as error:  # noqa: BLE001 - whatever validation finds is the plugin's fault
            if self._manager.has_plugin(key):
                self._manager.unregister(name=key)
            self.fail(plugin, str(error), None, getattr(error, "hint", None))
            return
        self._loaded.append((plugin, module))

    def _calls(self, hook: str) -> Iterator[tuple[Plugin, pluggy.HookImpl]]:
        implementations = {id(i.plugin): i for i in getattr(self._manager.hook, hook).get_hookimpls()}
        for plugin, module in self._loaded:
            if id(module) in implementations:
                yield plugin, implementations[id(module)]

    def _call(self, plugin: Plugin, call: pluggy.HookImpl, arguments: dict[str, Any], empty: Any = ()) -> Any:
        try:
            with guarded():
                answer = call.function(*(arguments[name] for name in call.argnames))
                # a collection is iterated here, so that a generator's error is caught here too
                if empty == () and isinstance(answer, Iterable) and not isinstance(answer, str | bytes | Mapping):
                    return list(answer)
                return empty if answer is None else answer
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            name = call.function.__name__
            raise PluginError(
                plugin.distribution,
                f"{plugin.distribution}: {name} failed: {_short(error)}",
                hint=f"see `cogen doctor {plugin.name}`, or leave it out with COGEN_BLOCK={plugin.name}",
            ) from error


def _items(plugin: Plugin, hook: str, answer: Any, kind: type[T]) -> list[T]:
    """:raises PluginError: the answer of a hook is not a list of such items."""
    items = [answer] if isinstance(answer, kind) else answer
    wrong = f"returned a {type(answer).__name__}, not a list" if not isinstance(items, list | tuple) else None
    for item in items if wrong is None else ():
        if not isinstance(item, kind):
            wrong = f"gave a {type(item).__name__}, not a {kind.__name__}"
            break
    if wrong is not None:
        raise PluginError(
            plugin.distribution,
            f"{plugin.distribution}: {hook} {wrong}",
            hint=f"it returns a list of {kind.__name__}; report it to the authors of {plugin.distribution}",
        )
    return list(items)


def _check_marks(module: ModuleType) -> None:
    """pluggy's validation, with the sentences that a plugin's author needs."""
    known = {name for name in vars(hookspecs) if name.startswith("cogen_")}
    for name, value in list(vars(module).items()):
        if not callable(value):
            continue
        marks = getattr(value, "cogen_impl", None)
        own = getattr(value, "__module__", None) == module.__name__
        if marks is None:
            if name.startswith("cogen_") and own:
                raise _Invalid(
                    f"the function {name} is not marked as a hook", "put @cogen.hookimpl above it, or rename it"
                )
            continue
        hook = marks.get("specname") or name
        if hook not in known:
            near = difflib.get_close_matches(hook, sorted(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"the hooks are {', '.join(sorted(known))}"
            raise _Invalid(f"there is no hook {hook}", hint)
        if marks.get("wrapper") or marks.get("hookwrapper"):
            raise _Invalid(f"{name} is a hook wrapper", "implement the hook itself: wrappers are not supported")
        allowed = pluggy._hooks.varnames(getattr(hookspecs, hook))[0]
        wrong = [argument for argument in pluggy._hooks.varnames(value)[0] if argument not in allowed]
        if wrong:
            takes = f"{hook} takes {', '.join(allowed)}" if allowed else f"{hook} takes no arguments"
            raise _Invalid(f"{name} has an argument {wrong[0]!r} that the hook does not", takes)


def _registrar(table: dict[str, str]) -> Callable[[str, str], None]:
    def register(name: str, target: str) -> None:
        module, separator, attribute = str(target).partition(":")
        if not separator or not attribute.isidentifier() or not all(map(str.isidentifier, module.split("."))):
            raise ValueError(f"{target!r} is not of the form 'package.module:function'")
        if name in table:
            raise ValueError(f"{name!r} is registered twice")
        table[name] = target

    return register


def _short(error: BaseException) -> str:
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

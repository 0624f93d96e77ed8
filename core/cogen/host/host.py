"""The host: what is installed, and the hooks of it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cogen.errors import CogenError, PluginError, UsageError, failure
from cogen.extras import missing_extra
from cogen.host.discovery import discover
from cogen.host.guard import guarded
from cogen.host.plugin import Diagnostic, Expert, Plugin
from cogen.host.scan import Shadowed
from cogen.settings import settings

if TYPE_CHECKING:
    from cogen.host.hooks import Failure, Hooks

#: Former modules that plugins of methods import, and what they are called now.
_MOVED = {
    "cogen.fusion.merge.method": "cogen.merging.method",
    "cogen.fusion.merge.parameters": "cogen.merging.parameters",
    "cogen.fusion.mergekit": "cogen.merging.mergekit",
    "cogen.fusion.vocabulary": "cogen.merging.vocabulary",
    "cogen.fusion.adapters": "cogen.merging.lora",
}


class Host:
    """All plugins of this environment.

    Made by :meth:`discover`, which imports none of them. The methods that need a plugin's code import it, one package
    at a time; a plugin whose code fails turns ``broken`` and the others go on.
    """

    def __init__(self, plugins: Iterable[Plugin] = (), shadowed: Iterable[Shadowed] = ()) -> None:
        self._plugins = list(plugins)
        self._hooks: Hooks | None = None
        #: Distributions that are installed twice; the first on ``sys.path`` is used.
        self.shadowed: tuple[Shadowed, ...] = tuple(shadowed)

    @classmethod
    def discover(cls, *, strict: bool | None = None, path: Iterable[str] | None = None) -> Host:
        """Find the installed plugins.

        :param strict: Raise for the first plugin that cannot be used; by default so if ``COGEN_STRICT=1``.
        :param path: Look for distributions here instead of on ``sys.path``.
        :raises UsageError: a ``COGEN_*`` setting names something that is not installed.
        :raises PluginError: only if strict.
        """
        host = cls(*discover(path))
        if settings().strict if strict is None else strict:
            for plugin in host.plugins:
                if plugin.state not in ("ok", "blocked"):
                    raise _unusable(plugin)
        return host

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """All plugins, the unusable ones too, sorted by (distribution, name)."""
        return tuple(self._plugins)

    def experts(self, *, computed: bool = False) -> tuple[Expert, ...]:
        """The experts that can be used, sorted by id.

        :param computed: Also those that a plugin's hook ``cogen_experts`` computes; this imports plugin code.
        """
        hooks = self.hooks if computed else None  # first, because loading hooks can turn a plugin broken
        experts = {p.name: p.expert for p in self._plugins if p.state == "ok" and p.expert is not None}
        if hooks is not None:
            from cogen.spec.expert import ExpertSpec

            for plugin, specs in hooks.collect_safely("cogen_experts", kind=ExpertSpec):
                for spec in specs:
                    if spec.id in experts:
                        hooks.fail(plugin, f"its hook cogen_experts computes {spec.id!r}, which is there already")
                        continue
                    assert plugin.root is not None
                    experts[spec.id] = Expert(spec, plugin.distribution, plugin.version, plugin.root)
            self._take_failures(hooks)
        return tuple(expert for _, expert in sorted(experts.items()))

    def expert(self, id: str) -> Expert:
        """One expert by its id.

        :raises UsageError: it is not installed.
        :raises PluginError: it is installed, and cannot be used.
        """
        named = [plugin for plugin in self._plugins if plugin.name == id]
        for plugin in named:
            if plugin.state == "ok" and plugin.expert is not None:
                return plugin.expert
        for expert in self.experts(computed=True) if self._has_code() else ():
            if expert.id == id:
                return expert
        for plugin in named:
            if plugin.state != "ok":
                raise _unusable(plugin)
        ids = [expert.id for expert in self.experts()]
        near = difflib.get_close_matches(id, ids, 1)
        listed = f"installed: {', '.join(ids)}" if ids else "nothing is installed; see `cogen list`"
        raise UsageError(f"no expert {id!r} is installed", hint=f"did you mean {near[0]!r}?" if near else listed)

    # ---- hooks: from here on plugin code is imported -------------------------------------------

    @property
    def hooks(self) -> Hooks:
        """The hooks of the built-ins and of every usable plugin that has code; imports it on first use."""
        if self._hooks is None:
            from cogen.host.hooks import Hooks

            self._hooks = Hooks(plugin for plugin in self._plugins if plugin.state == "ok" and plugin.code)
            self._take_failures(self._hooks)
        return self._hooks

    def sources(self) -> dict[str, str]:
        """URI scheme → "package.module:function" that fetches it."""
        return self._registered("cogen_sources")

    def methods(self) -> dict[str, str]:
        """Fusion method → "package.module:function"."""
        return self._registered("cogen_fusion_methods")

    def strategies(self) -> dict[str, str]:
        """Fusion strategy → "package.module:object"; the built-in ones first, in their order."""
        from cogen.host.builtin import STRATEGIES

        found = self._registered("cogen_fusion_strategies", ("auto",))
        return {name: found.pop(name) for name in STRATEGIES if name in found} | found

    def losses(self) -> dict[str, str]:
        """Distillation loss of a plugin → "package.module:object"."""
        from cogen.host.builtin import LOSSES

        return self._registered("cogen_distillation_losses", LOSSES)

    def review(self, plan: Any) -> list[tuple[str, Diagnostic]]:
        """What the plugins say about a plan: (distribution, diagnostic), in the order of plugins.

        :raises PluginError: a reviewer failed, or gave something else: a check that did not run has not passed.
        """
        return [
            (plugin.distribution, _diagnostic(plugin, diagnostic))
            for plugin, diagnostics in self.hooks.collect_of("cogen_review_plan", Diagnostic, plan=plan)
            for diagnostic in diagnostics
        ]

    def register_commands(self, app: Any) -> None:
        """Let plugins add their verbs to the command line's :class:`typer.Typer`."""
        hooks = self.hooks
        for _ in hooks.collect_safely("cogen_commands", app=app):
            pass
        self._take_failures(hooks)

    @staticmethod
    def resolve(target: str) -> Any:
        """Import what a string "package.module:attribute" names.

        :raises PluginError: there is no such thing. :raises MissingExtraError: it needs a library of an extra.
        """
        module, _, attribute = target.partition(":")
        try:
            with guarded():
                return getattr(importlib.import_module(module), attribute)
        except (CogenError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit at import must not end the host either
            if missing := missing_extra(error, attribute):
                raise missing from error
            package, reason = module.partition(".")[0], failure(error)
            hint = _moved(error) or f"report it to the authors of {package}"
            raise PluginError(package, f"{target!r} cannot be loaded: {reason}", hint=hint) from error

    def _registered(self, hook: str, reserved: Iterable[str] = ()) -> dict[str, str]:
        hooks = self.hooks
        registered = hooks.registered(hook, reserved)
        self._take_failures(hooks)
        return registered

    def _has_code(self) -> bool:
        return any(plugin.code and plugin.state == "ok" for plugin in self._plugins)

    def _take_failures(self, hooks: Hooks) -> None:
        """Plugins whose code failed are broken from now on."""
        failures: dict[tuple[str, str], Failure] = hooks.failures
        for i, plugin in enumerate(self._plugins):
            failure = failures.get((plugin.distribution, plugin.name))
            if failure is not None and plugin.state == "ok":
                self._plugins[i] = replace(
                    plugin, state="broken", reason=failure.reason, hint=failure.hint, traceback=failure.traceback
                )


def _diagnostic(plugin: Plugin, given: Diagnostic) -> Diagnostic:
    """With the severity as it is spelt here. What is neither a warning nor a veto may have been meant as a veto.

    :raises PluginError: another severity, or a message or hint that is not text.
    """
    severity = given.severity.strip().lower() if isinstance(given.severity, str) else given.severity
    wrong = None
    if severity not in ("warn", "veto"):
        wrong = f"the severity {ascii(given.severity)[:40]}"
    elif not isinstance(given.message, str):
        wrong = "a message that is not text"
    elif not isinstance(given.hint, str | None):
        wrong = "a hint that is not text"
    if wrong is not None:
        raise PluginError(
            plugin.distribution,
            f"{plugin.distribution}: cogen_review_plan gave {wrong}",
            hint=f"return cogen.Diagnostic('warn' or 'veto', '…'); report it to the authors of {plugin.distribution}",
        )
    return replace(given, severity="veto" if severity == "veto" else "warn")


def _moved(error: BaseException) -> str | None:
    """Where a module of cogen is now that a plugin imports under its former name."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    for old, new in _MOVED.items():
        if name == old or name.startswith(f"{old}."):
            return f"{old} is {new} now: change the import, or ask the plugin's authors for a newer version"
    return None


def _unusable(plugin: Plugin) -> PluginError:
    return PluginError(
        plugin.distribution,
        f"{plugin.name} ({plugin.distribution} {plugin.version}) is {plugin.state}: {plugin.reason}",
        hint=plugin.hint or f"see `cogen doctor {plugin.name}`",
    )

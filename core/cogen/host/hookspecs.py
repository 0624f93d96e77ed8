"""The hooks that a plugin may implement: functions of these names in its package, marked with ``@cogen.hookimpl``.

    import cogen

    @cogen.hookimpl
    def cogen_sources(register):
        register("oci", "cogen_plugin_oci.fetch:fetch")

An implementation may take fewer arguments than listed here, never others. Hooks run in the order of distribution names.
Most experts need none of them: ``expert.toml`` says it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from cogen.host.plugin import Diagnostic, ProgressEvent
    from cogen.spec.expert import ExpertSpec
    from cogen.spec.suite import Suite

hookspec = pluggy.HookspecMarker("cogen")
hookimpl = pluggy.HookimplMarker("cogen")


@hookspec
def cogen_experts() -> Iterable[ExpertSpec]:  # type: ignore[empty-body]
    """Experts that are computed rather than written down, for example one for each model in a folder."""


@hookspec(firstresult=True)
def cogen_load_model(spec: ExpertSpec, device: str, dtype: str) -> Any | None:
    """Load an expert's model in a way of your own; ``None`` leaves it to the next plugin and at last to the host.

    Returns a ``torch.nn.Module`` with the forward pass of a transformers causal language model, in eval mode.
    """


@hookspec(firstresult=True)
def cogen_load_tokenizer(spec: ExpertSpec) -> Any | None:
    """Load an expert's tokenizer in a way of your own; ``None`` leaves it to the next plugin and at last to the host.

    Returns an object with the interface of ``transformers.PreTrainedTokenizerFast``.
    """


@hookspec
def cogen_eval_suites(spec: ExpertSpec) -> Iterable[Suite]:  # type: ignore[empty-body]
    """Suites beyond those in the manifest. Those that need code to run are run only with the user's consent."""


@hookspec
def cogen_fusion_methods(register: Callable[[str, str], None]) -> None:
    """Call ``register("name", "package.module:function")`` for each fusion method; it is imported when it is used."""


@hookspec
def cogen_fusion_strategies(register: Callable[[str, str], None]) -> None:
    """Call ``register("name", "package.module:OBJECT")`` for each fusion strategy; imported when a strategy is chosen.

    An object is a :class:`cogen.fusion.strategy.Strategy` of that name.
    """


@hookspec
def cogen_distillation_losses(register: Callable[[str, str], None]) -> None:
    """Call ``register("name", "package.module:OBJECT")`` for each distillation loss; it is imported when it is used.

    An object is a :class:`cogen.fusion.distill.losses.plugin.PluginLoss`.
    """


@hookspec
def cogen_sources(register: Callable[[str, str], None]) -> None:
    """Call ``register("scheme", "package.module:function")`` for each URI scheme that weights can be fetched from."""


@hookspec
def cogen_review_plan(plan: Any) -> Iterable[Diagnostic]:  # type: ignore[empty-body]
    """Look at a plan before it runs and return diagnostics: ``warn`` is printed, ``veto`` stops the run.

    For example licenses that cannot be combined, or test text that stands in somebody's training data.
    """


@hookspec
def cogen_commands(app: Any) -> None:
    """Add verbs to the command line: ``app`` is a :class:`typer.Typer`."""


@hookspec
def cogen_progress(event: ProgressEvent) -> None:
    """Follow a long run. Must return at once; what it raises is ignored."""

"""CoGen: one foundation model out of domain experts that are installed with pip.

    import cogen

    composite = cogen.fuse(["power", "energy"], "composite")
    print(composite.chat().ask("How is power measured?"))

The names below are the whole public interface; docs/python.md explains them. They are imported when they are first
used: `import cogen` takes a few milliseconds and never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.api.audit import AuditedExpert as AuditedExpert
    from cogen.api.audit import audit as audit
    from cogen.api.chat import Chat as Chat
    from cogen.api.chat import chat as chat
    from cogen.api.evaluation import Evaluation as Evaluation
    from cogen.api.evaluation import evaluate as evaluate
    from cogen.api.experts import list_experts as list_experts
    from cogen.api.exports import export as export
    from cogen.api.forecast import Forecast as Forecast
    from cogen.api.forecast import forecast as forecast
    from cogen.api.fusion import Composite as Composite
    from cogen.api.fusion import fuse as fuse
    from cogen.api.fusion import plan as plan
    from cogen.api.fusion import update as update
    from cogen.api.merging import merge as merge
    from cogen.api.plugins import digest as digest
    from cogen.api.plugins import fix as fix
    from cogen.api.plugins import new_from as new_from
    from cogen.api.private import evaluate_private as evaluate_private
    from cogen.api.publishing import PackingList as PackingList
    from cogen.api.publishing import packing_list as packing_list
    from cogen.api.scan import Scanned as Scanned
    from cogen.api.scan import scan as scan
    from cogen.api.serving import serve as serve
    from cogen.api.training import TrainedExpert as TrainedExpert
    from cogen.api.training import TrainingPlan as TrainingPlan
    from cogen.api.training import plan_training as plan_training
    from cogen.api.training import train as train
    from cogen.artifacts.lock import Lock as Lock
    from cogen.devices import compute as compute
    from cogen.errors import CogenError as CogenError
    from cogen.evals.matrix import Matrix as Matrix
    from cogen.exports.run import Exported as Exported
    from cogen.fusion.plan import Plan as Plan
    from cogen.fusion.recipe import FuseRecipe as FuseRecipe
    from cogen.host import Diagnostic as Diagnostic
    from cogen.host import Expert as Expert
    from cogen.host import Host as Host
    from cogen.host import Plugin as Plugin
    from cogen.host import ProgressEvent as ProgressEvent
    from cogen.host.hookspecs import hookimpl as hookimpl
    from cogen.reporter import Reporter as Reporter
    from cogen.spec.expert import ExpertSpec as ExpertSpec

    __version__: str

_WHERE = {
    "AuditedExpert": "cogen.api.audit",
    "Chat": "cogen.api.chat",
    "CogenError": "cogen.errors",
    "Composite": "cogen.api.fusion",
    "Diagnostic": "cogen.host",
    "Evaluation": "cogen.api.evaluation",
    "Expert": "cogen.host",
    "ExpertSpec": "cogen.spec.expert",
    "Exported": "cogen.exports.run",
    "Forecast": "cogen.api.forecast",
    "FuseRecipe": "cogen.fusion.recipe",
    "Host": "cogen.host",
    "Lock": "cogen.artifacts.lock",
    "Matrix": "cogen.evals.matrix",
    "PackingList": "cogen.sharing.publishing.packing",
    "Plan": "cogen.fusion.plan",
    "Plugin": "cogen.host",
    "ProgressEvent": "cogen.host",
    "Reporter": "cogen.reporter",
    "Scanned": "cogen.api.scan",
    "TrainedExpert": "cogen.api.training",
    "TrainingPlan": "cogen.api.training",
    "audit": "cogen.api.audit",
    "chat": "cogen.api.chat",
    "compute": "cogen.devices",
    "digest": "cogen.api.plugins",
    "evaluate": "cogen.api.evaluation",
    "evaluate_private": "cogen.api.private",
    "export": "cogen.api.exports",
    "fix": "cogen.api.plugins",
    "forecast": "cogen.api.forecast",
    "fuse": "cogen.api.fusion",
    "hookimpl": "cogen.host.hookspecs",
    "list_experts": "cogen.api.experts",
    "merge": "cogen.api.merging",
    "packing_list": "cogen.api.publishing",
    "new_from": "cogen.api.plugins",
    "plan": "cogen.api.fusion",
    "plan_training": "cogen.api.training",
    "scan": "cogen.api.scan",
    "serve": "cogen.api.serving",
    "train": "cogen.api.training",
    "update": "cogen.api.fusion",
}

__all__ = [
    "AuditedExpert",
    "Chat",
    "CogenError",
    "Composite",
    "Diagnostic",
    "Evaluation",
    "Expert",
    "ExpertSpec",
    "Exported",
    "Forecast",
    "FuseRecipe",
    "Host",
    "Lock",
    "Matrix",
    "PackingList",
    "Plan",
    "Plugin",
    "ProgressEvent",
    "Reporter",
    "Scanned",
    "TrainedExpert",
    "TrainingPlan",
    "__version__",
    "audit",
    "chat",
    "compute",
    "digest",
    "evaluate",
    "evaluate_private",
    "export",
    "fix",
    "forecast",
    "fuse",
    "hookimpl",
    "list_experts",
    "merge",
    "new_from",
    "packing_list",
    "plan",
    "plan_training",
    "scan",
    "serve",
    "train",
    "update",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("cogen-core")
        except PackageNotFoundError:  # run from a source tree that is not installed
            value = "0+unknown"
    elif name in _WHERE:
        from importlib import import_module

        value = getattr(import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module 'cogen' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

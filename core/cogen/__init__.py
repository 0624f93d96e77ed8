"""CoGen: one foundation model out of domain experts that are installed with pip.

The names below are the whole public interface. They are imported when they are first used: `import cogen` costs nothing
and never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.errors import CogenError as CogenError
    from cogen.host import Diagnostic as Diagnostic
    from cogen.host import Expert as Expert
    from cogen.host import Host as Host
    from cogen.host import Plugin as Plugin
    from cogen.host import ProgressEvent as ProgressEvent
    from cogen.host.hookspecs import hookimpl as hookimpl
    from cogen.spec.expert import ExpertSpec as ExpertSpec

    __version__: str

_WHERE = {
    "CogenError": "cogen.errors",
    "Diagnostic": "cogen.host",
    "Expert": "cogen.host",
    "ExpertSpec": "cogen.spec.expert",
    "Host": "cogen.host",
    "Plugin": "cogen.host",
    "ProgressEvent": "cogen.host",
    "hookimpl": "cogen.host.hookspecs",
}

__all__ = [
    "CogenError",
    "Diagnostic",
    "Expert",
    "ExpertSpec",
    "Host",
    "Plugin",
    "ProgressEvent",
    "__version__",
    "hookimpl",
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

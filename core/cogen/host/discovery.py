"""From an entry point to a :class:`~cogen.host.plugin.Plugin`, without importing the package that it names."""

from __future__ import annotations

import importlib.util
import keyword
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cogen.host.choice import choose
from cogen.host.code import does_nothing
from cogen.host.index import Index
from cogen.host.manifest import MANIFEST, Reading, broken, referenced_files
from cogen.host.plugin import Expert, Plugin
from cogen.host.scan import EntryPoint, Shadowed, scan


def discover(path: Iterable[str] | None = None) -> tuple[list[Plugin], list[Shadowed]]:
    """Every installed plugin, sorted by (distribution, name), and the distributions that are there twice.

    :raises UsageError: a ``COGEN_*`` setting names a plugin that is not installed.
    """
    points, shadowed = scan(path)
    index = Index()
    plugins = [_plugin(point, index) for point in points]
    index.save()
    return choose(plugins), shadowed


def _plugin(point: EntryPoint, index: Index) -> Plugin:
    plugin = Plugin(point.name, point.distribution, point.version, "ok", module=point.value)
    try:
        root, init = _locate(point.value)
        plugin = replace(plugin, root=root)
        if not (root / MANIFEST).is_file():
            code = has_code(init)
            reading = (
                Reading(None)
                if code
                else broken(
                    f"{MANIFEST} is missing from the package {point.value}",
                    "put it beside __init__.py, and see that the build includes files that are not Python",
                )
            )
            return _with(replace(plugin, code=code), reading)
        reading = index.read(root / MANIFEST)
        if reading.document is None:
            return _with(plugin, reading)
        expert = Expert(reading.document, point.distribution, point.version, root)
        plugin = replace(plugin, expert=expert, code=has_code(init))
        return _with(plugin, _fits(point, expert))
    except Exception as error:  # noqa: BLE001 - one bad plugin must never end the host
        reason = error.args[0] if isinstance(error, _Refused) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, _Refused) else None
        return _with(plugin, broken(" ".join(str(reason).split()), hint))


class _Refused(Exception):
    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


def _locate(value: str) -> tuple[Path, Path | None]:
    """Folder and ``__init__.py`` of a top-level package.

    Dotted names are refused: ``find_spec("a.b")`` imports ``a``.
    """
    if not value.isidentifier() or keyword.iskeyword(value):
        raise _Refused(
            f"the entry point's value {value!r} is not the name of a top-level package",
            "name a package that holds expert.toml, without dots or a colon",
        )
    try:
        found = importlib.util.find_spec(value)
    except (ImportError, ValueError, AttributeError) as error:
        raise _Refused(f"the package {value!r} cannot be located: {error}", "reinstall the distribution") from error
    if found is None:
        raise _Refused(f"the package {value!r} is not installed", "reinstall the distribution")
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    if not folders:
        raise _Refused(
            f"{value!r} is a single module, not a package", f"make it a folder with __init__.py and {MANIFEST}"
        )
    root = next((folder for folder in folders if (folder / MANIFEST).is_file()), folders[0])
    if not root.is_dir():
        raise _Refused(f"the package {value!r} is not a folder on the disk", "install it unpacked, as pip does")
    return root, Path(found.origin) if found.origin and found.origin.endswith(".py") else None


def has_code(init: Path | None) -> bool:
    """Whether a package's ``__init__.py`` does anything at all, judged by its bytes."""
    if init is None or not init.is_file() or init.stat().st_size == 0:
        return False
    return not does_nothing(init.read_bytes())


def _fits(point: EntryPoint, expert: Expert) -> Reading:
    """What the manifest alone cannot know: the entry point's name, and the files that it promises."""
    if expert.id != point.name:
        return broken(
            f"the entry point is called {point.name!r}, but {MANIFEST} says id = {expert.id!r}",
            f'write {expert.id} = "{point.value}" under [project.entry-points.cogen] in pyproject.toml',
        )
    missing = [name for name in referenced_files(expert.document, point.value) if not (expert.root / name).exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return broken(
            f"{missing[0]}{more} is missing from the package",
            f"pip install --force-reinstall --no-deps {point.distribution}, or tell its author that the wheel lacks it",
        )
    return Reading(expert.document)


def _with(plugin: Plugin, reading: Reading) -> Plugin:
    return replace(plugin, state=reading.state, reason=reading.reason, hint=reading.hint)

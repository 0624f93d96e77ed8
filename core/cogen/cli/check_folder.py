"""`cogen check FOLDER`: a project as `cogen publish` would see it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from cogen.cli.output import out
from cogen.errors import CogenError, UsageError

#: Files of a source archive that a warning names.
_SHOWN = 3


def check_folder(folder: Path, level: str, texts: Path | None, allow: tuple[str, ...]) -> None:
    """Build the wheel, check each of its experts, and show what would leave; exit code 1 if a check fails.

    :raises UsageError: a deeper level, which needs the plugin installed. :raises BuildError: it cannot be built.
    """
    from cogen.cli.render_packing import packing_data, packing_lines
    from cogen.sharing.publishing.check import wheel_checks
    from cogen.sharing.publishing.publish import Order, built, packing_list_of

    if level != "static" or texts is not None:
        asked = f"--level {level}" if texts is None else "--texts"
        raise UsageError(
            f"{asked} needs an installed plugin", hint=f"`pip install -e {folder}`, then `cogen check EXPERT {asked} …`"
        )
    order = Order(folder.resolve(), None, allow=allow)
    with tempfile.TemporaryDirectory(prefix="cogen-check-") as place:
        out.status(f"building {folder}")
        wheel = built(order, Path(place))
        checks = wheel_checks(wheel)
        packing = packing_list_of(order, wheel)
    for expert, found in checks.items():
        out.text(expert)
        for check in found:
            show_check(check)
    for line in packing_lines(packing):
        out.text(line)
    archive = _source_archive(folder)
    failed = [
        f"{expert}: {check['name']}" for expert, found in checks.items() for check in found if check["ok"] is False
    ]
    count = sum(map(len, checks.values()))
    out.result(
        {
            "folder": str(folder),
            "level": level,
            "passed": not failed,
            "experts": checks,
            "packing": packing_data(packing),
            "source_archive": archive,
        }
    )
    if failed:
        out.error(f"{len(failed)} of {count} checks failed: {', '.join(failed)}")
        raise typer.Exit(1)
    out.success(f"{wheel.project} {wheel.version} passes all {count} checks of level {level}")


def show_check(check: Mapping[str, Any]) -> None:
    """One line, and a hint where it is needed. ``check``: fields of :class:`cogen.conformance.Check`."""
    mark = {True: "✓", False: "✗", None: "-"}[check["ok"]]
    out.text(f"{mark} {check['name']}: {check['message']}")
    if check["hint"] and not check["ok"]:
        out.text(f"    hint: {check['hint']}")


def _source_archive(folder: Path) -> dict[str, Any] | None:
    """Warn where `python -m build` would put texts into an sdist, which other tools upload; ``None``: not checked."""
    from dataclasses import asdict

    from cogen.sharing.publishing.source_archive import source_archive

    try:
        found = source_archive(folder)
    except CogenError as error:
        out.status(f"its source archive was not checked: {error.message}")
        return None
    if found.texts:
        named = ", ".join(found.texts[:_SHOWN]) + (" …" if len(found.texts) > _SHOWN else "")
        out.warn(f"a source archive (sdist) of {folder} would hold {len(found.texts)} files of text: {named}")
        out.hint(
            "`cogen publish` never sends one; list what belongs into it, for hatchling under "
            '[tool.hatch.build.targets.sdist] only-include = ["src"]'
        )
    return asdict(found)

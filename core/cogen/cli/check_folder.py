"""`cogen check FOLDER`: a project as `cogen publish` would see it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cogen.cli.output import out
from cogen.errors import CogenError

#: Files of a source archive that a warning names.
_SHOWN = 3


def check_wheel_of(folder: Path, allow: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Build the wheel of a source tree, check each of its experts, and show what would leave.

    :returns: what ``--json`` adds, and the names of the checks that failed. :raises BuildError: it cannot be built.
    """
    from dataclasses import asdict

    from cogen.cli.render_packing import packing_data, packing_lines
    from cogen.sharing.publishing.check import wheel_checks
    from cogen.sharing.publishing.publish import Order, built, packing_list_of, private_runs, uploads_of
    from cogen.sharing.publishing.weights import without_large

    with tempfile.TemporaryDirectory(prefix="cogen-check-") as place, without_large(folder, out.status) as slim:
        order = Order(slim, None, allow=allow, home=folder)
        out.status(f"building {folder}")
        wheel = built(order, Path(place))
        checks = wheel_checks(wheel)
        uploads = uploads_of(order, wheel)
        packing = packing_list_of(order, wheel, uploads)
        at_home = [asdict(check) for check in private_runs(order, wheel, uploads)]
    failed = []
    for expert, found in checks.items():
        found += at_home
        for check in found:
            if check["ok"] is False:  # the others were shown of the folder
                show_check(check)
                failed.append(f"{expert}: {check['name']}")
    for line in packing_lines(packing):
        out.text(line)
    archive = _source_archive(folder)
    data = {"folder": str(folder), "experts": checks, "packing": packing_data(packing), "source_archive": archive}
    return data, failed


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

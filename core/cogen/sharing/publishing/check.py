"""The built wheel against the contract: what is shipped is checked, not what lies beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cogen.errors import SpecError
from cogen.wheels import Wheel, requirements
from cogen.wheels.dependencies import others

#: Settings that choose among installed plugins have no say in what is checked here.
_SETTINGS = ("COGEN_PLUGINS", "COGEN_BLOCK", "COGEN_PREFER", "COGEN_STRICT")


def check_wheel(wheel: Wheel) -> int:
    """Run the static checks on every expert of a wheel, in a process of their own. Returns how many passed.

    :raises SpecError: a check failed; the message says which.
    """
    count = 0
    for expert, checks in wheel_checks(wheel).items():
        failed = [check for check in checks if check["ok"] is False]
        if failed:
            first = failed[0]
            raise SpecError(
                f"{expert} fails {len(failed)} of {len(checks)} checks: {first['name']}: {first['message']}",
                hint=first["hint"] or f"`cogen check {expert}` shows all of them",
            )
        count += len(checks)
    return count


def wheel_checks(wheel: Wheel) -> dict[str, list[dict[str, Any]]]:
    """Expert → its static checks, with the fields of :class:`cogen.conformance.Check`.

    :raises SpecError: a check could not be run.
    """
    allow = [one.name for one in others(requirements(wheel))]  # what was not allowed was refused when it was read
    with tempfile.TemporaryDirectory(prefix="cogen-check-") as place:
        with zipfile.ZipFile(wheel.path) as archive:  # its names were checked when it was read
            archive.extractall(place)
        return {spec.id: _checks(spec.id, place, allow) for spec in wheel.experts}


def _checks(expert: str, place: str, allow: Collection[str]) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    environment["PYTHONPATH"] = os.pathsep.join([place, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "cogen", "check", expert, "--json", *(f"--allow-dependency={one}" for one in allow)],
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        cwd=Path(place),
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    except (ValueError, KeyError) as error:
        line = " ".join(done.stderr.split())[-300:] or f"exit {done.returncode}"
        raise SpecError(f"{expert} could not be checked: {line}", hint=f"run `cogen check {expert}`") from error
    return found

"""``entry_points.txt``: experts and hooks, no commands and no other program's plugins."""

from __future__ import annotations

import keyword
import re

from cogen.host.scan import GROUP
from cogen.wheels.errors import WheelError

_SECTION = re.compile(r"\[([A-Za-z0-9_.-]+)\][ \t]*")
_POINT = re.compile(r"([A-Za-z0-9_.-]+)[ \t]*=[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*")


def read_points(content: bytes) -> dict[str, str]:
    """Name → package, of the one group that is allowed. Only the plain form is read, which everybody reads alike.

    :raises WheelError: another group, or a line that different readers understand differently.
    """
    points: dict[str, str] = {}
    group = None
    for line in _plain(content).split("\n"):
        if not line.strip(" \t") or line.startswith(("#", ";")):
            continue
        if match := _SECTION.fullmatch(line):
            group = match[1]
            if group != GROUP:
                raise WheelError(
                    f"the wheel has entry points of the group {group[:100]}",
                    hint="a plugin has those of `cogen` only: no commands, no plugins of other programs",
                )
        elif group and (match := _POINT.fullmatch(line)) and match[1] not in points and not keyword.iskeyword(match[2]):
            points[match[1]] = match[2]
        else:
            raise WheelError(
                f"entry_points.txt has a line that is not an entry point: {line[:80]!r}",
                hint="the value is the package that holds expert.toml, without dots or a colon",
            )
    if not points:
        raise WheelError(
            "the wheel has no entry point of the group `cogen`",
            hint="say which package holds expert.toml under [project.entry-points.cogen]",
        )
    if len(set(points.values())) != len(points):
        raise WheelError("two entry points name the same package", hint="one expert.toml a package, one expert each")
    return points


def _plain(content: bytes) -> str:
    text = content.replace(b"\r\n", b"\n")
    if re.search(rb"[^\t\n\x20-\x7e]", text):
        raise WheelError("entry_points.txt holds characters that are not plain", hint="use ASCII")
    return text.decode("ascii")

"""What a wheel of a plugin may hold: one rule for those who publish, admit, install and verify it.

    read_wheel(path)                 the whole rule on a file; a WheelError names the first breach
    unpacked(path)                   the same, and its files in a folder for the length of a ``with``
    check_installed(distribution)    the same rule on what lies in an environment, one line for each breach

Places, kinds of files, entry points, names, METADATA, WHEEL, RECORD, sizes, dependencies, and whether a plugin is
*data* or *code* are decided here and nowhere else. The table for people is in docs/wheels.md.
"""

from __future__ import annotations

from cogen.wheels.errors import WheelError
from cogen.wheels.installed import check_installed
from cogen.wheels.limits import Limits
from cogen.wheels.wheel import Wheel, read_wheel, requirements, unpacked

__all__ = ["Limits", "Wheel", "WheelError", "check_installed", "read_wheel", "requirements", "unpacked"]

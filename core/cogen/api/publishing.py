"""``cogen.packing_list``: every file that publishing would send, and the text in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.errors import UsageError

if TYPE_CHECKING:
    from cogen.sharing.publishing.packing import PackingList as PackingList


def packing_list(path: str | Path, *, allow: tuple[str, ...] = ()) -> PackingList:
    """What `cogen publish` would send of a plugin; nothing is sent, and no check but the one of wheels is made.

    :param path: the plugin's source tree, of which a wheel is built in a temporary folder; or a wheel.
    :param allow: distributions that it may require besides cogen-core.
    :raises UsageError: it is neither. :raises BuildError: it cannot be built. :raises WheelError: the wheel is not one
        of a plugin. :raises SpecError: a folder of weights holds something else.
    """
    from cogen.api.checks import as_path
    from cogen.sharing.publishing.packing import of_wheel
    from cogen.sharing.publishing.publish import Order, built, packing_list_of, uploads_of
    from cogen.wheels import read_wheel

    place = as_path("path", path)
    if place.is_file():
        return of_wheel(read_wheel(place, allow=allow))
    if not place.is_dir():
        raise UsageError(f"{place} is not there", hint="name the folder of a plugin, or a wheel")
    order = Order(place.resolve(), None, allow=allow)
    with tempfile.TemporaryDirectory(prefix="cogen-packing-") as scratch:
        wheel = built(order, Path(scratch))
        return packing_list_of(order, wheel, uploads_of(order, wheel))

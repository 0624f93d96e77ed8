"""What a plugin may ask to be installed beside it: cogen-core in a range, and what was allowed by name.

A requirement is somebody else's code, chosen by whoever wrote the plugin. So the list is closed: no extras, no
markers that switch cogen-core off, no URLs, no pin that would put another host in the place of this one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cogen.wheels.errors import WheelError

HOST = "cogen-core"
_SAY = 'say dependencies = ["cogen-core"] in pyproject.toml'


def check_dependencies(
    requires: Iterable[Requirement], allow: Collection[str] | None = (), host: str | None = None
) -> None:
    """:param allow: names that are allowed beside cogen-core; ``None``: any.
    :param host: version of the cogen-core that is installed where the plugin is to go; ``None``: anywhere.
    :raises WheelError: names the first requirement that is not allowed.
    """
    allowed = {canonicalize_name(name) for name in allow or ()}
    found = False
    for one in requires:
        name = canonicalize_name(one.name)
        if one.url:
            raise WheelError(f"it requires {one.name} from a URL", hint="require a version of it")
        if name == "cogen":
            raise WheelError("it depends on `cogen`, an unrelated package of 2009", hint=_SAY)
        if name == HOST:
            _check_host(one, host)
            found = True
        elif allow is not None and name not in allowed:
            extra = " in an extra" if "extra" in str(one.marker or "") else ""
            raise WheelError(
                f"it requires {one.name[:100]}{extra}, and a plugin requires cogen-core alone",
                hint=f"take it out of pyproject.toml; who trusts it allows it by name: --allow-dependency {name[:100]}",
            )
    if not found:
        raise WheelError("it does not depend on cogen-core", hint=_SAY)


def _check_host(one: Requirement, host: str | None) -> None:
    if one.marker is not None:
        raise WheelError(f"it requires cogen-core only where `{str(one.marker)[:80]}`", hint=_SAY)
    if one.extras:
        raise WheelError(
            f"it requires {HOST}[{','.join(sorted(one.extras))[:80]}], which brings other packages", hint=_SAY
        )
    exact = [str(part) for part in one.specifier if part.operator == "===" or _pins(part.operator, part.version)]
    if exact:
        raise WheelError(
            f"it requires exactly cogen-core {exact[0][:80]}, which would replace the one that is installed",
            hint='say a range, such as "cogen-core>=0.1,<1"',
        )
    if host is None:
        return
    try:
        fits = one.specifier.contains(Version(host), prereleases=True)
    except InvalidVersion:
        fits = False
    if not fits:
        raise WheelError(
            f"it requires cogen-core{str(one.specifier)[:80]}, and {host} is installed",
            hint="choose another version of the expert, or upgrade cogen-core yourself",
        )


def _pins(operator: str, version: str) -> bool:
    return operator == "==" and not version.endswith(".*")


def others(requires: Iterable[Requirement]) -> list[Requirement]:
    """Those beside cogen-core that hold in this environment."""
    return [
        one
        for one in requires
        if canonicalize_name(one.name) != HOST and (one.marker is None or one.marker.evaluate({"extra": ""}))
    ]

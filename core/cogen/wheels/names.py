"""Names of plugins: of the distribution, of the packages that it may install, and of its wheel's file."""

from __future__ import annotations

import re

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from cogen.wheels.errors import WheelError

#: Of distributions, so that a plugin never takes the place of another package.
PREFIX = "cogen-plugin-"
_BUILD = "build the wheel again with a current build tool"


def project_name(name: str) -> str:
    """As PEP 503 normalises it.

    :raises WheelError: it is no name of a plugin.
    """
    normal = canonicalize_name(name[:300])
    if len(normal) > 100 or not re.fullmatch(PREFIX + r"[a-z0-9]+(-[a-z0-9]+)*", normal):
        raise WheelError(f"{name[:200]!r} is not a plugin's name", hint=f"call the distribution {PREFIX}NAME")
    return str(normal)


def package_of(project: str) -> str:
    """The package that a plugin installs. Others of the same plugin are called ``….__MORE``: two dashes stand in no
    project's name, so nobody else's plugin can install anything there.
    """
    return project.replace("-", "_")


def is_own(project: str, package: str) -> bool:
    """May this plugin install a package of this name?"""
    own = package_of(project)
    return package == own or re.fullmatch(own + r"__[a-z0-9_]+", package) is not None


def check_package(project: str, package: str) -> None:
    """:raises WheelError: the package may be somebody else's, such as ``torch``."""
    if not is_own(project, package):
        own = package_of(project)
        raise WheelError(
            f"the package {package[:200]!r} is not {project}'s own", hint=f"call it {own}, a second one {own}__MORE"
        )


def check_filename(filename: str) -> tuple[str, Version]:
    """Project and version of a wheel's file name, which has exactly one spelling for them.

    :raises WheelError: it is not for everybody (``py3-none-any``), or spelled otherwise.
    """
    if not filename.endswith(".whl") or len(filename) > 300:
        raise WheelError(
            f"{filename[:200]!r} is not a wheel", hint="wheels only: a source distribution runs code when it is built"
        )
    try:
        name, version, build, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion, ValueError) as error:
        raise WheelError(f"the file's name is not a wheel's: {_line(error)}", hint=_BUILD) from None
    if build:
        raise WheelError(
            f"{filename} has a build tag, which would shadow the same version", hint="raise the version instead"
        )
    if {str(tag) for tag in tags} != {"py3-none-any"}:
        raise WheelError(f"{filename} is not for everybody", hint="a plugin is data and Python: py3-none-any")
    project = project_name(name)
    if version.local:
        raise WheelError(f"{version} is a local version", hint="leave out what follows the +")
    if filename != (wanted := f"{package_of(project)}-{version}-py3-none-any.whl"):
        raise WheelError(f"the file is called {filename}, not {wanted}", hint=_BUILD)
    if len(str(version)) > 100:
        raise WheelError("the version has more than 100 characters", hint="choose a shorter one")
    return project, version


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""The experts of an unpacked wheel: manifests and static conformance, by the same checks as ``cogen check``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cogen.checkpoints.digests import file_digest
from cogen.conformance.static import expert_checks
from cogen.host import Expert
from cogen.host.manifest import MANIFEST, read_manifest, referenced_files
from cogen.spec.expert import ExpertSpec
from cogen_registry.admission.pins import check_sources, in_wheel
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits


def check_experts(
    place: Path, project: str, version: str, points: Mapping[str, str], limits: Limits
) -> tuple[ExpertSpec, ...]:
    """Manifests of all entry points, in the order of their names.

    :param place: The unpacked wheel. :param points: entry point → package.
    :raises Refused: 400, with what ``cogen check`` says first.
    """
    found = []
    for name, package in sorted(points.items()):
        found.append(_check_expert(place, project, version, name, package, limits).spec)
    return tuple(found)


def _check_expert(place: Path, project: str, version: str, name: str, package: str, limits: Limits) -> Expert:
    root = place / package
    path = root / MANIFEST
    if not path.is_file():
        raise Refused(
            400, f"{package} holds no {MANIFEST}", hint="this registry holds experts only; see that the build ships it"
        )
    if path.stat().st_size > limits.metadata:
        raise Refused(413, f"{MANIFEST} of {package} is larger than {limits.metadata:,} bytes", hint="shorten it")
    reading = read_manifest(path)
    if reading.document is None:
        raise Refused(400, reading.reason or f"{MANIFEST} is not valid", hint=reading.hint)
    expert = Expert(reading.document, project, version, root)
    if expert.id != name:
        raise Refused(
            400, f"the entry point is called {name!r}, but {MANIFEST} says id = {expert.id!r}",
            hint=f'write {expert.id} = "{package}" under [project.entry-points.cogen] in pyproject.toml',
        )  # fmt: skip
    check_sources(expert.spec)
    for file in referenced_files(expert.document, package):
        # the contract's own check of paths lets a folder such as "." through
        if not (root / file).exists() or not (root / file).resolve().is_relative_to(root.resolve()):
            raise Refused(400, f"{package}/{file} is missing from the wheel", hint="see that the build ships it")
    for owner, inside, digest in in_wheel(expert.spec):
        weights = place / owner / inside
        if not weights.exists():
            raise Refused(400, f"{owner}/{inside} is missing from the wheel", hint="see that the build ships it")
        if (have := file_digest(weights)) != digest:
            raise Refused(
                400, f"{owner}/{inside} has digest {have}, {digest} was promised",
                hint="run `cogen check` before you build",
            )  # fmt: skip
    for check in expert_checks(expert):
        if check.ok is False:
            raise Refused(400, f"{expert.id}, {check.name}: {check.message}", hint=check.hint)
    return expert

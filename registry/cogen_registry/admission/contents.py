"""The experts of an unpacked wheel: manifests and static conformance, by the same checks as ``cogen check``."""

from __future__ import annotations

from pathlib import Path

from cogen.checkpoints.digests import file_digest
from cogen.conformance.project import check_project
from cogen.conformance.result import Failed
from cogen.conformance.static import expert_checks
from cogen.host import Expert
from cogen.host.manifest import MANIFEST, referenced_files
from cogen.spec.expert import ExpertSpec
from cogen.wheels import Wheel
from cogen_registry.admission.pins import check_sources, in_wheel
from cogen_registry.errors import Refused


def check_experts(place: Path, wheel: Wheel) -> tuple[ExpertSpec, ...]:
    """Experts of all entry points, in the order of their names.

    :param place: The unpacked wheel.
    :raises Refused: 400, with what ``cogen check`` says first.
    """
    try:
        check_project(wheel.metadata)
    except Failed as failed:
        raise Refused(400, str(failed), hint=failed.hint or "run `cogen check`") from failed
    specs = {spec.id: spec for spec in wheel.experts}
    for name, package in sorted(wheel.points.items()):
        if name not in specs:
            raise Refused(
                400,
                f"{package} holds no {MANIFEST}",
                hint="this registry holds experts only; see that the build ships it",
            )
        _check_expert(place, Expert(specs[name], wheel.project, wheel.version, place / package), package)
    return tuple(specs[name] for name in sorted(specs))


def _check_expert(place: Path, expert: Expert, package: str) -> None:
    root = expert.root
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
                400,
                f"{owner}/{inside} has digest {have}, {digest} was promised",
                hint="run `cogen check` before you build",
            )
    for check in expert_checks(expert):
        if check.ok is False:
            raise Refused(400, f"{expert.id}, {check.name}: {check.message}", hint=check.hint or "run `cogen check`")

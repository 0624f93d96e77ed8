"""``route.json``: which experts a route has, which of their bytes, and what decides between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.sources import fetch
from cogen.errors import PlanError, SpecError, UsageError
from cogen.fusion.details import EmbedderPin
from cogen.reporter import SILENT, Reporter
from cogen.routing.embedder import Embedder
from cogen.spec.base import Digest, ExpertId, Frozen
from cogen.spec.model import BaseRef
from cogen.untrusted.json_text import parse_object

if TYPE_CHECKING:
    from cogen.fusion.plan import PlannedExpert
    from cogen.host import Expert, Host

ROUTE = "route.json"
ROUTE_VERSION: Final = 2
_HINT = "`cogen fuse --strategy route` writes one"
_PINNED = ("spec_digest", "file_digest", "weights_digest")


class EmbedderRef(EmbedderPin):
    """The sentence-embedding model of a route, which can be opened."""

    @classmethod
    def of(cls, embedder: Embedder, reporter: Reporter = SILENT) -> Self:
        """With the digest of what is there now, where nobody has promised one: this fetches it."""
        digest = embedder.digest or file_digest(fetch(embedder.source, reporter=reporter))
        return cls(source=embedder.source, digest=digest)

    def open(self, reporter: Reporter = SILENT) -> Embedder:
        """The model, loaded when its first text comes."""
        return Embedder(self.source, self.digest, reporter)


class RouteExpert(Frozen):
    """One expert, with the digests that an installed one must have."""

    id: ExpertId
    title: str
    distribution: str
    version: str
    publisher: str
    license: str
    spec_digest: Digest
    file_digest: Digest
    weights_digest: Digest

    @classmethod
    def planned(cls, expert: PlannedExpert) -> Self:
        """From a plan, which has all of it."""
        return cls.model_validate(expert.model_dump(include=set(cls.model_fields)))

    @classmethod
    def of(cls, expert: Expert) -> Self:
        """Of an installed one."""
        spec = expert.spec
        return cls(
            id=spec.id,
            title=spec.title,
            distribution=expert.distribution,
            version=expert.version,
            publisher=spec.publisher,
            license=spec.license,
            spec_digest=spec.digest,
            file_digest=spec.model.file_digest,
            weights_digest=spec.model.weights_digest,
        )


class RouteManifest(Frozen):
    """See the module. ``experts`` are sorted by id: the order of the recipe changes nothing.

    ``fallback`` answers what is nearer to general text than to any expert: the base, where all share one. ``centroids``
    is the digest of the file of that name. ``ensemble``: all experts answer together, see :mod:`.posterior`; the field
    came with version 2, and a route without it is written as version 1.
    """

    version: Literal[1, 2] = 1
    cogen: str
    embedder: EmbedderRef
    fallback: BaseRef | None
    experts: tuple[RouteExpert, ...] = Field(min_length=1)
    centroids: Digest
    ensemble: Literal["posterior"] | None = None

    @model_serializer(mode="wrap")
    def _of_version(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {name: value for name, value in found.items() if name != "ensemble" or value is not None}

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        if (self.version == 2) != (self.ensemble is not None):
            raise ValueError("a route with an ensemble is of version 2, any other one of version 1")
        ids = [expert.id for expert in self.experts]
        if ids != sorted(set(ids)):
            raise ValueError("experts are sorted by id, and each stands there once")
        return self


def write_route(manifest: RouteManifest, folder: Path) -> None:
    """JSON with sorted keys: the same route gives the same bytes."""
    from cogen.files import atomic_write

    text = json.dumps(manifest.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False)
    atomic_write(folder / ROUTE, (text + "\n").encode())


def is_route(folder: Path) -> bool:
    """Does this folder hold a route?"""
    return (folder / ROUTE).is_file()


def read_route(folder: Path) -> RouteManifest:
    """
    :raises SpecError: there is none, it cannot be read, or a newer CoGen wrote it.
    """
    path = folder / ROUTE
    try:
        value = parse_object(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except ValueError as error:
        raise SpecError(f"{path} is not a route: {error}", hint=_HINT) from error
    if "version" not in value:
        raise SpecError(f"{path} is not a route: it has no field `version`", hint=_HINT)
    if value["version"] not in (1, ROUTE_VERSION):
        raise SpecError(
            f"{path} is a route of version {value['version']}, this CoGen reads version {ROUTE_VERSION}",
            hint="install the CoGen that it names in its field `cogen`, or build it again",
        )
    try:
        return RouteManifest.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        text = f"{place}: {first['msg']}" if place else first["msg"]
        raise SpecError(f"{path} is not a route: {text}", hint=_HINT) from error


def check_unmoved(host: Host, manifest: RouteManifest) -> dict[str, Expert]:
    """The installed experts of a route, by id.

    :raises PlanError: one is not installed, or is no longer the one that the route was built with.
    """
    found = {}
    for wanted in manifest.experts:
        wheel = f"pip install {wanted.distribution}=={wanted.version}"
        try:
            expert = host.expert(wanted.id)
        except UsageError as error:
            raise PlanError(f"the route needs the expert {wanted.id}, which is not installed", hint=wheel) from error
        now = RouteExpert.of(expert)
        for name in _PINNED:
            if getattr(now, name) != getattr(wanted, name):
                raise PlanError(
                    f"the {name.replace('_', ' ')} of {wanted.id} ({now.distribution} {now.version}) is no longer that "
                    "of the route",
                    hint=f"{wheel}, or build the route again: cogen fuse --strategy route",
                )
        found[wanted.id] = expert
    return found

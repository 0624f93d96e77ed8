"""``ExpertSpec``: everything that a plugin says about one expert. No torch, no I/O."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cogen.spec.base import Derivatives, ExpertId, Frozen, Language, License, Line
from cogen.spec.data import DataCard
from cogen.spec.model import ModelSpec, RouterSpec, TokenizerSpec
from cogen.spec.suite import PrivateSuite, Samples, Statistics, Suite

#: Fields that schema version 2 added.
_ADDED = ("private_suites", "statistics")


class ExpertSpec(Frozen):
    """The manifest of an expert, as it stands in ``expert.toml``."""

    #: 2 where the manifest holds what version 1 does not know: `private_suites`, `statistics`, or no suite at all.
    schema_version: Literal[1, 2] = 1
    plugin_api: int = Field(ge=1)
    id: ExpertId
    title: Line
    summary: Line
    publisher: Line
    homepage: Line | None = None
    contact: Line | None = None
    domains: Annotated[tuple[Line, ...], Field(min_length=1)]
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    license: License
    derivatives: Derivatives
    model: ModelSpec
    tokenizer: TokenizerSpec
    samples: Samples | None = None
    router: RouterSpec | None = None
    data: DataCard
    suites: tuple[Suite, ...] = ()
    private_suites: tuple[PrivateSuite, ...] = ()
    statistics: Statistics | None = None

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What version 2 added only where it is used: manifests written before keep their digest."""
        found: dict[str, Any] = handler(self)
        unused = {name for name in _ADDED if not getattr(self, name)}
        return {name: value for name, value in found.items() if name not in unused}

    @model_validator(mode="after")
    def _version(self) -> Self:
        new = next((name for name in _ADDED if getattr(self, name)), None if self.suites else "leaving `suites` out")
        if self.schema_version == 1 and new is not None:
            raise ValueError(f"{new} needs schema_version = 2")
        return self

    @model_validator(mode="after")
    def _has_router(self) -> Self:
        if (self.router is not None) != (self.model.relation == "anchored"):
            raise ValueError("an expert of relation 'anchored' ships `router`, and no other does")
        return self

    @model_validator(mode="after")
    def _suite_ids(self) -> Self:
        ids = [*(suite.id for suite in self.suites), *(suite.id for suite in self.private_suites)]
        if len(set(ids)) != len(ids):
            raise ValueError("two suites have the same id")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces): equal for equal content in any order."""
        return canonical_digest(self.model_dump(mode="json"))


def canonical_digest(value: Any) -> str:
    """SHA-256 over JSON with sorted keys and no white space; independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

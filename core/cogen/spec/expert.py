"""``ExpertSpec``: everything that a plugin says about one expert. No torch, no I/O."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cogen.spec.base import ExpertId, Frozen, Language, License, Line
from cogen.spec.data import DataCard
from cogen.spec.model import ModelSpec, RouterSpec, TokenizerSpec
from cogen.spec.suite import Samples, Suite


class ExpertSpec(Frozen):
    """The manifest of an expert, as it stands in ``expert.toml``."""

    schema_version: Literal[1] = 1
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
    #: May others publish models made from this one? share-alike: only under the same license.
    derivatives: Literal["allowed", "share-alike", "no"]
    model: ModelSpec
    tokenizer: TokenizerSpec
    samples: Samples | None = None
    router: RouterSpec | None = None
    data: DataCard
    suites: Annotated[tuple[Suite, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_router(self) -> Self:
        if (self.router is not None) != (self.model.relation == "anchored"):
            raise ValueError("an expert of relation 'anchored' ships `router`, and no other does")
        return self

    @model_validator(mode="after")
    def _suite_ids(self) -> Self:
        ids = [suite.id for suite in self.suites]
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

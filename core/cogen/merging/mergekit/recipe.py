"""mergekit's YAML as a checked value (the schema of mergekit 0.1.5): what it says, and nothing that we'd ignore."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError, field_validator, model_validator

from cogen.errors import SpecError
from cogen.merging.mergekit.document import RecipeDocument, read_document
from cogen.merging.mergekit.reference import Reference, parse_reference
from cogen.merging.mergekit.settings import parse_setting
from cogen.merging.parameters import Setting
from cogen.spec.base import Frozen

#: Keys that exist elsewhere in mergekit, and what to do instead.
_ELSEWHERE = {
    "experts": "that is a recipe of mergekit-moe, which builds a mixture: --from-mergekit merges weights",
    "gate_mode": "that is a recipe of mergekit-moe, which builds a mixture: --from-mergekit merges weights",
    "genome": "that is a recipe of mergekit-evolve: `cogen fuse --search` tunes a merge",
    "residual_weight": "mergekit reads it and does nothing with it: remove it",
    "name": "names belong to chains of mergekit-multi: carry them out one by one",
    "out_path": "name the folder with -o",
    "revision": "write model@revision",
    "input_model_parameters": "mergekit's guide names it but its code doesn't read it: use models.*.parameters",
}

Model = Annotated[Reference, PlainValidator(parse_reference)]
Parameters = dict[str, Annotated[Setting, PlainValidator(parse_setting)]]
#: ``parameters:`` without anything below it is none.
Settings = Annotated[Parameters, BeforeValidator(lambda value: {} if value is None else value)]


class Part(Frozen):
    """Anything that has parameters."""

    parameters: Settings = Field(default_factory=dict)


class InputModel(Part):
    """A whole model."""

    model: Model


class SliceSource(Part):
    """Layers ``[first, last)`` of a model."""

    model: Model
    layer_range: tuple[int, int]

    @field_validator("layer_range")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= value[0] < value[1]:
            raise ValueError(f"{list(value)} is no range of layers: [first, last) with 0 <= first < last")
        return value


class OutputSlice(Part):
    """Layers of the result that follow one another: the sources' layers, merged one by one."""

    sources: tuple[SliceSource, ...] = Field(min_length=1)
    base_model: Model | None = None


class MergekitModule(Part):
    """The models or slices of one part of a model; only a recipe with a single module can be carried out."""

    slices: tuple[OutputSlice, ...] | None = None
    models: tuple[InputModel, ...] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.slices) == bool(self.models):
            raise ValueError("name either models or slices, one of them")
        return self


class TokenEmbedding(Frozen):
    """The embedding of another token, or zeros."""

    kind: Literal["model_token", "zero"]
    model: Model | None = None
    token_id: Annotated[int, Field(ge=0)] | None = None
    token: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [name for name in ("model", "token_id", "token") if getattr(self, name) is not None]
        if self.kind == "zero" and given:
            raise ValueError(f"a zero embedding has no {given[0]}")
        if self.kind == "model_token" and (self.model is None or len(given) != 2):
            raise ValueError("kind model_token needs a model, and either token or token_id")
        return self


def _token_source(value: Any) -> Any:
    return (
        TokenEmbedding.model_validate(value) if isinstance(value, dict) and "kind" in value else parse_reference(value)
    )


def _tokenizer_source(value: Any) -> Any:
    return value if value in ("union", "base") else parse_reference(value)


class MergekitTokenSource(Frozen):
    """Where the models that lack a token take its embedding from; with ``force`` all of them."""

    source: Annotated[TokenEmbedding | Reference, PlainValidator(_token_source)] | None = None
    force: bool = False


class TokenizerWish(Frozen):
    """The tokenizer of the result."""

    source: Annotated[Literal["union", "base"] | Reference, PlainValidator(_tokenizer_source)] = "union"
    tokens: dict[str, MergekitTokenSource] | None = None
    pad_to_multiple_of: Annotated[int, Field(ge=1)] | None = None


class MergekitRecipe(Part):
    """A whole recipe."""

    merge_method: str
    models: tuple[InputModel, ...] | None = None
    slices: tuple[OutputSlice, ...] | None = None
    modules: dict[str, MergekitModule] | None = None
    base_model: Model | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer_source: Annotated[Literal["union", "base"] | Reference, PlainValidator(_tokenizer_source)] | None = None
    tokenizer: TokenizerWish | None = None
    chat_template: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(map(bool, (self.models, self.slices, self.modules))) != 1:
            raise ValueError("name either models, slices or modules, one of them")
        if self.modules and len(self.modules) > 1:
            raise ValueError(
                f"several modules ({', '.join(self.modules)}) are not supported: write models, which merges all parts"
            )
        if self.tokenizer_source and self.tokenizer:
            raise ValueError("name either tokenizer or tokenizer_source, not both")
        return self


def read_recipe(path: Path) -> tuple[MergekitRecipe, str]:
    """The recipe and its text.

    :raises SpecError: unreadable, no YAML, or something that cannot be honoured, with its place and line.
    """
    document = read_document(path)
    try:
        return MergekitRecipe.model_validate(document.value), document.text
    except ValidationError as error:
        raise _refusal(document, error) from error


def _refusal(document: RecipeDocument, error: ValidationError) -> SpecError:
    """The first mistake of the file, by line."""
    found = min(error.errors(), key=lambda item: document.line(item["loc"]) or 0)
    # Names of the types that pydantic tried are no places in the file.
    place = document.known(found["loc"])
    where = ".".join(str(part) for part in place)
    line = document.line(found["loc"])
    at = f"{document.name}{f', line {line}' if line else ''}"
    key = str(found["loc"][-1]) if found["loc"] else ""
    if found["type"] == "extra_forbidden":
        hint = _ELSEWHERE.get(key, "remove it, or correct its spelling: nothing in a recipe is ignored")
        return SpecError(f"{at}: unknown key {where}", hint=hint)
    message = re.sub(r"^Value error, | or instance of \w+", "", str(found["msg"]))
    if found["type"] == "missing":
        message = f"{key} is missing"
        where = ".".join(str(part) for part in place if part != key)
    return SpecError(f"{at}: {f'{where}: ' if where else ''}{message}", hint="see mergekit's guide of its recipes")

"""A recipe as a validated value, in the schema of mergekit 0.1.5; unknown keys are errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError, field_validator, model_validator

from cogen.errors import SpecError
from cogen.merging.mergekit.document import RecipeDocument, read_document
from cogen.merging.mergekit.reference import Reference, parse_reference
from cogen.merging.mergekit.settings import parse_setting
from cogen.merging.parameters import Setting, StrictModel

#: Keys that exist elsewhere in mergekit, and what to do instead.
_ELSEWHERE = {
    "experts": "that is a mergekit-moe recipe; `cogen fuse --strategy moe` builds mixtures of experts",
    "gate_mode": "that is a mergekit-moe recipe; `cogen fuse --strategy moe` builds mixtures of experts",
    "genome": "that is a mergekit-evolve recipe; `cogen fuse --search` tunes a merge",
    "residual_weight": "remove it: it has no effect in mergekit",
    "name": "that is a mergekit-multi recipe; run its merges one by one",
    "out_path": "give the folder with -o",
    "revision": "write model@revision",
    "input_model_parameters": "use models.*.parameters: mergekit's code does not read it",
}

Model = Annotated[Reference, PlainValidator(parse_reference)]
Parameters = dict[str, Annotated[Setting, PlainValidator(parse_setting)]]
#: An empty ``parameters:`` is allowed.
Settings = Annotated[Parameters, BeforeValidator(lambda value: {} if value is None else value)]


class Parametrized(StrictModel):
    """Anything with parameters."""

    parameters: Settings = Field(default_factory=dict)


class InputModel(Parametrized):
    """A whole model."""

    model: Model


class SliceSource(Parametrized):
    """Layers ``[first, last)`` of a model."""

    model: Model
    layer_range: tuple[int, int]

    @field_validator("layer_range")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= value[0] < value[1]:
            raise ValueError(f"{list(value)} is not a range of layers: [first, last) with 0 <= first < last")
        return value


class OutputSlice(Parametrized):
    """Layers of the result that follow one another: the sources' layers, merged one by one."""

    sources: tuple[SliceSource, ...] = Field(min_length=1)
    base_model: Model | None = None


class MergekitModule(Parametrized):
    """The models or slices of one part of a model; only a recipe with a single module can be carried out."""

    slices: tuple[OutputSlice, ...] | None = None
    models: tuple[InputModel, ...] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.slices) == bool(self.models):
            raise ValueError("give either models or slices")
        return self


class TokenEmbedding(StrictModel):
    """The embedding of another token, or zeros."""

    kind: Literal["model_token", "zero"]
    model: Model | None = None
    token_id: Annotated[int, Field(ge=0)] | None = None
    token: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [name for name in ("model", "token_id", "token") if getattr(self, name) is not None]
        if self.kind == "zero" and given:
            raise ValueError(f"kind zero takes no {given[0]}")
        if self.kind == "model_token" and (self.model is None or len(given) != 2):
            raise ValueError("kind model_token needs a model, and either token or token_id")
        return self


def _token_source(value: Any) -> Any:
    return (
        TokenEmbedding.model_validate(value) if isinstance(value, dict) and "kind" in value else parse_reference(value)
    )


def _tokenizer_source(value: Any) -> Any:
    return value if value in ("union", "base") else parse_reference(value)


class MergekitTokenSource(StrictModel):
    """Where the models that lack a token take its embedding from; with ``force`` all of them."""

    source: Annotated[TokenEmbedding | Reference, PlainValidator(_token_source)] | None = None
    force: bool = False


class MergekitTokenizer(StrictModel):
    """The tokenizer of the result."""

    source: Annotated[Literal["union", "base"] | Reference, PlainValidator(_tokenizer_source)] = "union"
    tokens: dict[str, MergekitTokenSource] | None = None
    pad_to_multiple_of: Annotated[int, Field(ge=1)] | None = None


class MergekitRecipe(Parametrized):
    """A whole recipe."""

    merge_method: str
    models: tuple[InputModel, ...] | None = None
    slices: tuple[OutputSlice, ...] | None = None
    modules: dict[str, MergekitModule] | None = None
    base_model: Model | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer_source: Annotated[Literal["union", "base"] | Reference, PlainValidator(_tokenizer_source)] | None = None
    tokenizer: MergekitTokenizer | None = None
    chat_template: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(map(bool, (self.models, self.slices, self.modules))) != 1:
            raise ValueError("give one of models, slices and modules")
        if self.modules and len(self.modules) > 1:
            raise ValueError(
                f"several modules ({', '.join(self.modules)}) are not supported: write models, which merges all parts"
            )
        if self.tokenizer_source and self.tokenizer:
            raise ValueError("give either tokenizer or tokenizer_source, not both")
        return self


def read_recipe(path: Path) -> tuple[MergekitRecipe, str]:
    """Read a recipe file; see :func:`parse_recipe`."""
    return parse_recipe(read_document(path))


def parse_recipe(document: RecipeDocument) -> tuple[MergekitRecipe, str]:
    """The recipe and its text.

    :raises SpecError: an unknown key or a wrong value, with its path and line.
    """
    try:
        return MergekitRecipe.model_validate(document.value), document.text
    except ValidationError as error:
        raise _error(document, error) from error


def _error(document: RecipeDocument, error: ValidationError) -> SpecError:
    """The first mistake of the file, by line."""
    found = min(error.errors(), key=lambda item: document.line(item["loc"]) or 0)
    # pydantic puts the types that it tried into the location.
    place = document.known(found["loc"])
    where = ".".join(str(part) for part in place)
    line = document.line(found["loc"])
    at = f"{document.name}{f', line {line}' if line else ''}"
    key = str(found["loc"][-1]) if found["loc"] else ""
    if found["type"] == "extra_forbidden":
        hint = _ELSEWHERE.get(key, "remove it, or correct its spelling")
        return SpecError(f"{at}: unknown key {where}", hint=hint)
    message = re.sub(r"^Value error, | or instance of \w+", "", str(found["msg"]))
    if found["type"] == "missing":
        message = f"{key} is missing"
        where = ".".join(str(part) for part in place if part != key)
    return SpecError(f"{at}: {f'{where}: ' if where else ''}{message}", hint="correct the recipe")

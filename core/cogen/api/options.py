"""The options of ``cogen.plan`` and ``cogen.fuse``, and the recipe that they make."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from cogen.api.checks import as_mapping, as_names, as_path, as_paths
from cogen.choices import (
    ENSEMBLES,
    LEVELS,
    MATRICES,
    PUBLIC_EXPERTS,
    ROUTINGS,
    TRANSPLANTS,
    check_choice,
    unknown,
)

if TYPE_CHECKING:
    from cogen.fusion.recipe import ExpertOptions, FuseRecipe

#: A file or folder.
PathLike = str | os.PathLike[str]
F = TypeVar("F", bound=Callable[..., Any])
_CHOICES = {
    "level": LEVELS,
    "matrix": MATRICES,
    "routing": ROUTINGS,
    "public_expert": PUBLIC_EXPERTS,
    "transplant": TRANSPLANTS,
    "ensemble": ENSEMBLES,
}
#: Options that are fields of the recipe's table ``[distill]``.
_DISTILL = ("student", "texts", "tokens")


class FuseOptions(TypedDict, total=False):
    """Every option of ``cogen plan`` and ``cogen fuse`` by its name in a recipe; ``None`` leaves one to the recipe.

    ``scale`` as a number is fixed, as a list it is searched over on the dev splits. ``parameters`` are the method's
    (``--set``); ``space`` says what ``search`` tunes, and between which bounds (``--tune``).
    """

    strategy: str | None
    method: str | None
    scale: float | Sequence[float] | None
    parameters: Mapping[str, Any] | None
    search: int | None
    space: Mapping[str, tuple[float, float]] | None
    level: str | None
    matrix: str | None
    tokenizer: str | None
    transplant: str | None
    chat_template: str | None
    generation_config: str | None
    routing: str | None
    top_k: int | None
    public: bool | None
    public_expert: str | None
    embedder: str | None
    ensemble: str | None
    student: str | None
    texts: Sequence[PathLike] | None
    tokens: int | None


#: Ids, or ids with their weights; ``None``: all that are installed.
Experts: TypeAlias = "str | Mapping[str, float | ExpertOptions] | Iterable[str] | None"
#: A file recipe.toml, a recipe that was read, or its fields.
RecipeLike: TypeAlias = "PathLike | FuseRecipe | Mapping[str, Any] | None"


def given(options: FuseOptions) -> list[str]:
    """The names of the options that ask for something."""
    return [name for name, value in options.items() if value is not None and value not in ((), [], {})]


def recipe_from_options(experts: Experts, recipe: RecipeLike, options: FuseOptions) -> FuseRecipe:
    """A recipe, overridden by ``experts`` and ``options``: field by field; parameters and space name by name.

    :raises UsageError: an option that does not exist, or a value that it does not take.
    :raises SpecError: the recipe's file cannot be read.
    """
    from pydantic import ValidationError

    from cogen.errors import UsageError
    from cogen.fusion.recipe import FuseRecipe, mistake

    fields = _fields(recipe)
    if weights := _weights(experts):
        fields["experts"] = weights
    for name, value in options.items():
        if name not in FuseOptions.__annotations__:
            raise unknown("option", name, FuseOptions.__annotations__)
        if value is not None:
            _override(fields, name, value)
    for name, choices in _CHOICES.items():
        if isinstance(value := fields.get(name), str):
            check_choice(name, value, choices)
    try:
        return FuseRecipe.model_validate(fields)
    except ValidationError as error:
        raise UsageError(mistake(error), hint="see `cogen fuse --help`") from error


def _fields(recipe: RecipeLike) -> dict[str, Any]:
    """What a recipe sets."""
    from cogen.fusion.recipe import FuseRecipe, read_fuse_recipe

    if recipe is None:
        return {}
    if isinstance(recipe, Mapping):
        return dict(recipe)
    read = recipe if isinstance(recipe, FuseRecipe) else read_fuse_recipe(as_path("recipe", recipe))
    fields: dict[str, Any] = read.model_dump(exclude_unset=True)
    return fields


def _override(fields: dict[str, Any], name: str, value: Any) -> None:
    """Write one option into the fields of a recipe."""
    if name in ("parameters", "space"):
        fields[name] = as_mapping(name, fields.get(name, {})) | as_mapping(name, value)
    elif name in _DISTILL:
        own = as_mapping("distill", fields.get("distill", {}))
        if name == "student":
            own.pop("pivot", None)  # its former name
        fields["distill"] = own | {name: as_paths(name, value) if name == "texts" else value}
    else:
        fields[name] = value


def _weights(experts: Experts) -> dict[str, Any]:
    from cogen.errors import UsageError

    if experts is None:
        return {}
    names = list(experts) if isinstance(experts, Mapping) else as_names("experts", experts)
    if not names:  # a filter that left nothing must not fuse everything
        raise UsageError("no expert is named", hint="name one, or leave `experts` out for all that are installed")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UsageError(f"{twice[0]} is named twice", hint="name it once; {'ID': WEIGHT} gives it a weight")
    return dict(experts) if isinstance(experts, Mapping) else dict.fromkeys(names, 1.0)


def shows_options(function: F) -> F:
    """Lets ``help()``, editors and notebooks see the options behind ``**options`` as keyword arguments of their own."""
    signature = inspect.signature(function)
    shown = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, keyword, default=None, annotation=annotation.__forward_arg__)
        for name, annotation in FuseOptions.__annotations__.items()
    ]
    function.__signature__ = signature.replace(parameters=[*shown, *options])  # type: ignore[attr-defined]
    return function

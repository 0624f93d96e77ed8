"""Values of parameters: numbers, gradients and conditions, typed by the parameter that they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from cogen.errors import UsageError
from cogen.merging.parameters import Conditional, Scalar, Setting, resolve

Kind = Literal["number", "integer", "switch", "text"]
_WORDS = {"number": "a number", "integer": "a whole number", "switch": "true or false", "text": "a text"}
#: Lenient, like mergekit: YAML reads 1e-5 as a text, and some writers quote "true".
_ADAPTERS: dict[Kind, TypeAdapter[Any]] = {
    "number": TypeAdapter(Annotated[float, Field(allow_inf_nan=False)]),
    "integer": TypeAdapter(Annotated[float, Field(allow_inf_nan=False)]),  # a gradient's values; see `value_of`
    "switch": TypeAdapter(bool),
    "text": TypeAdapter(str),
}


def parse_setting(value: Any) -> Setting:
    """A scalar, a list of them (a gradient), one condition ``{filter, value}``, or a list of those.

    :raises ValueError: it is something else.
    """
    if isinstance(value, dict):
        return (_condition(value),)
    if isinstance(value, (list, tuple)):
        if not value:
            return ()
        if all(isinstance(item, dict) for item in value):
            return tuple(_condition(item) for item in value)
        return tuple(_scalar(item) for item in value)
    return _scalar(value)


def _condition(value: Mapping[Any, Any]) -> Conditional:
    if unknown := sorted(map(str, value.keys() - {"filter", "value"})):
        raise ValueError(f"unknown key {unknown[0]!r} of a condition: it has a filter and a value")
    if "value" not in value:
        raise ValueError("a condition without a value")
    found, filter = value["value"], value.get("filter")
    if not isinstance(filter, str | None):
        raise ValueError(f"the filter {filter!r} is not a text: it is looked for in the names of tensors")
    if found == []:
        raise ValueError("a condition with an empty list of values")
    inner = tuple(_scalar(item) for item in found) if isinstance(found, (list, tuple)) else _scalar(found)
    return Conditional(value=inner, filter=filter)


def _scalar(value: Any) -> Scalar:
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"{value!r} is not a value: write a number, a list of numbers, or conditions")
    return value


def convert(setting: Setting, kind: Kind, name: str) -> Setting:
    """The setting with every scalar as ``kind``.

    :raises UsageError: one is something else, or not finite.
    """

    def one(value: Scalar) -> Scalar:
        try:
            converted: Scalar = _ADAPTERS[kind].validate_python(value)
            return converted
        except ValidationError as error:
            raise UsageError(f"{name} is {value!r}, not {_WORDS[kind]}", hint="correct the recipe") from error

    return _map(setting, one)


def _map(setting: Setting, function: Callable[[Scalar], Scalar]) -> Setting:
    if not isinstance(setting, tuple):
        return function(setting)
    conditions = tuple(part for part in setting if isinstance(part, Conditional))
    if conditions:
        return tuple(part.model_copy(update={"value": _map(part.value, function)}) for part in conditions)
    return tuple(function(part) for part in setting if not isinstance(part, Conditional))


def value_of(levels: Iterable[Mapping[str, Setting]], key: str, name: str, position: float, kind: Kind) -> Any:
    """The value for one tensor: of the first level that has one; ``None`` where none has.

    A level where no condition fits the tensor's name, or whose list is empty, leaves it to the next, as in mergekit.

    :raises UsageError: a gradient of whole numbers has another value between two of them.
    """
    for settings in levels:
        if key in settings and settings[key] != ():
            found = resolve(settings[key], name, position)
            if kind == "integer" and found is not None and not float(found).is_integer():
                raise UsageError(f"{key} is {found} for {name}, not a whole number", hint="give a single value")
            if found is not None:
                return int(found) if kind == "integer" else found
    return None

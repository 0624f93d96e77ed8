"""How options are declared: choices that are shown, checked and completed, and groups that several verbs share."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from cogen.choices import check_choice
from cogen.cli.output import out

AllowDependency = Annotated[
    list[str] | None,
    typer.Option(metavar="PACKAGE", help="A package that it may require besides cogen-core. Repeatable."),
]


def choice(
    kind: str, choices: Sequence[str], *flags: str, help: str, panel: str | None = None, argument: bool = False
) -> Any:
    """An option (or argument) that takes one of ``choices``: they are its metavar, its completion and its error."""

    def word(value: str) -> str:
        return check_choice(kind, value, choices)

    shared: dict[str, Any] = {"parser": word, "metavar": "|".join(choices), "help": help, "rich_help_panel": panel}
    shared["autocompletion"] = starting(lambda: choices)
    return typer.Argument(**shared) if argument else typer.Option(*flags, **shared)


def starting(values: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """A shell completion: those of ``values()`` that begin with what was typed; none where they cannot be found."""

    def complete(incomplete: str) -> list[str]:
        try:
            return [value for value in values() if value.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a shell that waits for a completion must not see a traceback
            return []

    return complete


def expert_ids() -> list[str]:
    """Ids of the experts that can be used; imports neither torch nor plugin code."""
    from cogen.host import Host

    return sorted(plugin.name for plugin in Host.discover().plugins if plugin.state == "ok" and plugin.expert)


def method_names() -> list[str]:
    """The merge methods and distillation losses that CoGen brings."""
    from cogen.host.builtin import METHODS

    return list(METHODS)


def renamed(old: str, new: str) -> None:
    """The notice for an option or verb that still works under its old name."""
    out.warn(f"`{old}` is deprecated: use `{new}`")


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Expand every parameter of ``command`` that is a dataclass into one option for each of its fields.

    The fields carry the options as annotated types, so a group is declared once for all verbs that take it.
    """
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups: dict[str, Any] = {
        name: hints[name] for name in signature.parameters if dataclasses.is_dataclass(hints[name])
    }
    shown = [p.replace(annotation=hints[p.name]) for p in signature.parameters.values() if p.name not in groups]
    for group in groups.values():
        types = get_type_hints(group, include_extras=True)
        shown += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=types[f.name])
            for f in dataclasses.fields(group)
        ]

    @functools.wraps(command)
    def expanded(*args: Any, **values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in dataclasses.fields(group)})
        command(*args, **values)

    expanded.__signature__ = signature.replace(parameters=shown, return_annotation=None)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in shown}
    del expanded.__wrapped__  # so that typer reads this signature, not the one inside
    return expanded


class GroupedCommand(TyperCommand):
    """A verb whose help lists its options by group, in plain text: drawing with rich would take a third of the time."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                general = "Arguments" if param.param_type_name == "argument" else "Options"
                name = record[0].partition(" <")[0]  # typer appends the Python type of an argument
                sections.setdefault(getattr(param, "rich_help_panel", None) or general, []).append((name, record[1]))
        # The switches that every verb has come last.
        last = {"Options": sections.pop("Options")} if len(sections) > 2 and "Options" in sections else {}
        for title, records in {**sections, **last}.items():
            with formatter.section(title):
                formatter.write_dl(records)

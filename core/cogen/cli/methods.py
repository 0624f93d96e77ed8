"""`cogen methods`: the merge methods, where they come from and what they take."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from cogen.cli.output import out


def command(
    name: Annotated[str | None, typer.Argument(help="One method, with its formula and parameters.")] = None,
) -> None:
    """List the merge methods, ours and those of plugins; with a name, say what one does."""
    from cogen.fusion.merge.lookup import find_method
    from cogen.host import Host

    host = Host.discover()
    if name is None:
        found = [_facts(find_method(host, known)) for known in sorted(host.methods())]
        out.table(
            [
                {"method": f["name"], "experts": f["experts"], "base": f["base"], "source": f["source"]}
                | {"parameters": ", ".join(f"{key}={_text(value)}" for key, value in f["parameters"].items())}
                for f in found
            ],
            title="merge methods",
        )
        out.result(found)
        return
    method = find_method(host, name)
    facts = _facts(method)
    out.text(f"{method.name} ({method.source}): {inspect.cleandoc(method.__doc__ or 'no description')}")
    out.table(
        [
            {
                "parameter": key,
                "default": _text(value),
                "per expert": "yes" if key in method.per_expert else "",
                "searched over": "{:g} to {:g}".format(*method.space[key]) if key in method.space else "",
            }
            for key, value in facts["parameters"].items()
        ],
        title=f"parameters (--set NAME=VALUE); experts: {facts['experts']}, base: {facts['base']}",
    )
    out.result(facts | {"description": inspect.cleandoc(method.__doc__ or "")})


def _facts(method: Any) -> dict[str, Any]:
    least, most = method.experts
    count = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
    parameters = {
        key: "required" if value is inspect.Parameter.empty else value
        for key, value in sorted(method.parameters.items())
        if key != "grams"
    }
    return {
        "name": method.name,
        "source": method.source,
        "experts": count,
        "base": method.base,
        "order_matters": method.ordered,
        "parameters": parameters,
        "per_expert": sorted(method.per_expert - {"grams"}),
        "searched": {key: list(bounds) for key, bounds in method.space.items()},
    }


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)

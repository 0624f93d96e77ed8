"""`cogen list`: the installed experts, including those that cannot be used, and why."""

from __future__ import annotations

from typing import Any

from cogen.cli.output import Column, out

#: Columns of a terminal that the table fits into.
WIDTH = 100


def command() -> None:
    """Show the installed experts, and what is wrong with those that cannot be used."""
    from cogen.host import Host

    host = Host.discover()
    rows = [_row(plugin) for plugin in host.plugins]
    title, base = Column("title", shrinks=True), Column("base", shrinks=True)
    shown: list[str | Column] = ["expert", title, base, "lineage", "relation", "license", "version", "state"]
    if any(row["private_suites"] for row in rows):
        shown.insert(-1, Column("measured", shrinks=True))
    if rows:  # equal digits of lineage can be merged weight by weight
        digits = [(row["lineage"] or "")[7:15] for row in rows]
        shorter = [{**row, "lineage": own, "measured": _measured(row)} for row, own in zip(rows, digits, strict=True)]
        out.table(shorter, shown, width=WIDTH)
    for row in rows:
        if row["state"] != "ok":
            out.warn(f"{row['expert']} ({row['distribution']} {row['version']}) is {row['state']}: {row['reason']}")
            if row["hint"]:
                out.hint(row["hint"])
    if not rows:
        out.status("no expert is installed: pip install one that you trust, or create your own with `cogen new NAME`")
    out.result({"experts": rows})


def _row(plugin: Any) -> dict[str, Any]:
    document = plugin.expert.document if plugin.expert else {}
    model = document.get("model", {})
    base = model.get("base") or {}
    return {
        "expert": plugin.name,
        "title": document.get("title"),
        "domains": document.get("domains", []),
        "base": base.get("name"),
        "lineage": (base or model).get("weights_digest"),
        "relation": model.get("relation"),
        "suites": len(document.get("suites", [])),
        "private_suites": len(document.get("private_suites", [])),
        "license": document.get("license"),
        "licence": document.get("license"),  # the former name
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "reason": plugin.reason,
        "hint": plugin.hint,
    }


def _measured(row: dict[str, Any]) -> str:
    """Who can measure it: everybody, or its publisher alone."""
    own = "at the publisher's" if row["private_suites"] else ""
    return "here" + (f", {own}" if own else "") if row["suites"] else own or "nowhere"

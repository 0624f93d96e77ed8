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
    if rows:  # equal digits of lineage can be merged weight by weight
        out.table([{**row, "lineage": (row["lineage"] or "")[7:15]} for row in rows], shown, width=WIDTH)
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
        "license": document.get("license"),
        "licence": document.get("license"),  # the former name
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "reason": plugin.reason,
        "hint": plugin.hint,
    }

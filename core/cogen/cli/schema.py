"""`cogen schema`: the contract as JSON schema."""

from __future__ import annotations

from cogen.cli.output import out


def command() -> None:
    """Print the JSON schema of expert.toml, for editors and other languages."""
    from cogen.spec.schema import published

    schema = published()
    if out.mode == "quiet":
        return
    out.mode = "json"  # there is only one way to print it
    out.result(schema)

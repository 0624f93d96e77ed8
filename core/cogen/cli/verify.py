"""`cogen verify`: is everything still as it was verified? If not, which files changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli.output import out


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Experts, distributions, or folders of composites; default: all experts."
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the registry for current advisories.")] = False,
) -> None:
    """Compare installed files, weights and signatures with what was verified; ends with exit code 1 if any differ."""
    from cogen.sharing.verify import Finding, verify_all, verify_composite

    folders = [name for name in names or [] if Path(name).is_dir() and (Path(name) / "cogen.lock").exists()]
    experts = [name for name in names or [] if name not in folders]
    findings: list[Finding] = []
    with out.progress(None, "verifying") as bar:
        for folder in folders:
            bar.describe(f"verifying {folder}")
            findings.append(verify_composite(Path(folder)))
        if experts or not folders:
            for finding in verify_all(experts, online=not offline):
                bar.describe(f"verified {finding.name}")
                findings.append(finding)
    for finding in findings:
        _show(finding)
    wrong = [finding.name for finding in findings if finding.problems]
    out.result(
        {"verified": not wrong, "findings": [{**asdict(finding), "ok": not finding.problems} for finding in findings]}
    )
    if wrong:
        out.error(f"{len(wrong)} of {len(findings)} have changed since they were verified: {', '.join(wrong)}")
        out.hint(
            "for changed files: find out who changed them, then `cogen add NAME` installs them again; for what was "
            "yanked or revoked: `cogen remove NAME`"
        )
        raise typer.Exit(1)
    if findings:
        out.success(f"{len(findings)} verified, nothing changed")
    else:
        out.status("no expert is installed")


def _show(finding: Any) -> None:
    mark = "✗" if finding.problems else "✓"
    signed = f", signed by {finding.publisher} ({finding.signer})" if finding.signer else ""
    out.text(f"{mark} {finding.name} {finding.version}: {finding.files} files{signed}")
    for problem in finding.problems:
        out.text(f"    {problem}")
    for note in finding.notes:
        out.text(f"    - {note}")

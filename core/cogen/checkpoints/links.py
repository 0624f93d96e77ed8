"""Symbolic links in folders of models: those that lead elsewhere would publish a file that nobody meant."""

from __future__ import annotations

from pathlib import Path


def leads_out(file: Path, folder: Path) -> bool:
    """Does a file of ``folder`` lie outside of it in truth? In a cache of the Hub the repository's blobs are inside."""
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    return not file.resolve().is_relative_to(root)

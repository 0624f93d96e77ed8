"""Paths as people and files of others write them: with a ``~`` of nobody, of 70,000 characters, with a NUL."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str) -> Path:
    """With ``~`` and ``~name`` written out; as it stands where there is no such user."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # pathlib's, for a user that is not known
        return path


def is_folder(text: str) -> bool:
    """Is this the path of a folder? ``False`` also for what no file system takes as a path."""
    try:
        return user_path(text).is_dir()
    except (OSError, ValueError):
        return False


def is_there(text: str) -> bool:
    """Likewise, of a file or folder."""
    try:
        return user_path(text).exists()
    except (OSError, ValueError):
        return False

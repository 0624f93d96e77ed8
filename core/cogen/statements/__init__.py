"""Statements of a field that are true, against the same ones made false in one place."""

from __future__ import annotations

from cogen.statements.field import Field, read_field
from cogen.statements.generate import StatementItem, StatementText, cloze, pairs

__all__ = ["Field", "StatementItem", "StatementText", "cloze", "pairs", "read_field"]

"""The metadata at the top of a README, between two lines of three dashes."""

from __future__ import annotations

import yaml

#: Characters; the reader is slow, and no README needs more.
LONGEST = 1 << 16


def front(text: str) -> str | None:
    """The metadata's text; ``None``: there is none."""
    parts = text.split("---", 2) if text.startswith("---") else []
    return parts[1] if len(parts) == 3 else None


def problem(text: str) -> str | None:
    """One line that says why it can't be read, of metadata as :func:`front` gives it."""
    try:
        if not isinstance(yaml.safe_load(text) or {}, dict):
            raise ValueError("it is not a mapping")
    except RecursionError:
        return "it is nested too deeply"
    except (yaml.YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        # Beside its own errors PyYAML lets through what its constructors meet: impossible dates, keys of any type.
        return " ".join(str(error).split())[:300] or type(error).__name__
    return None

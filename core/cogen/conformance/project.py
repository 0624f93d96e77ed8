"""What pyproject.toml says of a project, as its METADATA ships it: nothing is left open."""

from __future__ import annotations

from email.parser import HeaderParser

from cogen.conformance.result import Failed
from cogen.spec.unfinished import is_unfinished

#: Fields that a publisher writes, in the order of METADATA, and their names in pyproject.toml.
_FIELDS = {
    "Summary": "description",
    "Keywords": "keywords",
    "Author": "authors",
    "Author-email": "authors",
    "Maintainer": "maintainers",
    "Maintainer-email": "maintainers",
    "License": "license",
    "License-Expression": "license",
    "Project-URL": "urls",
}


def check_project(metadata: str) -> None:
    """
    :param metadata: text of METADATA.
    :raises Failed: a field that ships still says TODO.
    """
    found = HeaderParser().parsestr(metadata)
    for field, name in _FIELDS.items():
        if any(is_unfinished(str(value)) for value in found.get_all(field, [])):
            raise Failed(f"{name} in pyproject.toml is still TODO", "write what is so into pyproject.toml")

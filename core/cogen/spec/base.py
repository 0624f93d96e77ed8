"""What all parts of the contract share: frozen, strict models and the checked string types."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: Plugins declare the integer contract that they were written for; it is checked before anything is imported.
PLUGIN_API = 1

#: A license that nobody chose yet is read, so that all that is missing can be named at once; see cogen.spec.unfinished.
_UNDECIDED = re.compile(r"TODO(?::|$)")

#: May others publish models made from this one? share-alike: only under the same license. TODO: nobody decided yet.
Derivatives = Literal["allowed", "share-alike", "no", "TODO"]

#: Names that a matrix uses for what is not an expert.
RESERVED_IDS = frozenset({"base", "composite", "general", "route", "ensemble", "oracle"})


class Frozen(BaseModel):
    """Immutable, unknown fields refused: a typing error in a manifest is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def without_none(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """For fields that came later: left out where they are not used, so that a digest made before stays the same."""
    return {name: value for name, value in values.items() if value is not None or name not in names}


def _license(value: str) -> str:
    if value == "unknown" or _UNDECIDED.match(value):
        return value
    try:
        return canonicalize_license_expression(value)
    except InvalidLicenseExpression as error:
        raise ValueError(f"{value!r} is not an SPDX license expression ({error})") from error


def _unreserved(value: str) -> str:
    if value in RESERVED_IDS:
        raise ValueError(f"{value!r} is taken: the rows and columns of a matrix are called so")
    return value


def _source(value: str) -> str:
    match = re.match(r"([a-z][a-z0-9+.-]*)://(.+)", value)
    if not match:
        raise ValueError(f"{value!r} is not a source URI such as hf://org/repo or package://module/path")
    return value


def _relative(value: str) -> str:
    if value.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", value) or ":" in value:
        raise ValueError(f"{value!r} must be a path inside the plugin's package")
    return value


#: ``^[a-z][a-z0-9-]{1,39}$``; the same as the name of the entry point. The rows of a matrix have names of their own.
ExpertId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,39}$"), AfterValidator(_unreserved)]
#: SPDX license expression (PEP 639 spelling), or the word "unknown"; or TODO, which stops training and publishing.
License = Annotated[str, AfterValidator(_license)]
#: ``scheme://rest``; which schemes exist is decided by the host's source plugins.
SourceUri = Annotated[str, AfterValidator(_source)]
#: Lower-case SHA-256 with its prefix.
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
#: Full commit hash: a branch or a tag can move, a commit cannot.
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
#: POSIX path relative to the plugin's package folder.
RelativePath = Annotated[str, AfterValidator(_relative)]
#: One line of text.
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\r\n]+$")]
#: BCP 47 language tag.
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]

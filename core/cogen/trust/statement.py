"""A statement: what a publisher says of one wheel, signed.

    {"schema": 1, "project", "version", "filename", "sha256", "size", "publisher",
     "experts": [{"id", "spec_digest", "weights": {"source", "revision", "file_digest"}}], "signed": ISO 8601 in UTC}

The signature covers the statement as canonical JSON, in a folder that holds nothing else. It names project and version,
so that an old wheel can't stand for a new one, and the weights by digest, so that they are signed with it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cogen.trust.documents import check_document, sign_document
from cogen.trust.errors import TrustError
from cogen.trust.keys import Signer

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec

_NAME = "release.json"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SignedWeights(_Strict):
    """Where the weights of an expert lie, and the digest of their files."""

    source: str
    revision: str | None
    file_digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class SignedExpert(_Strict):
    """One expert of a wheel; ``spec_digest`` is :attr:`cogen.spec.expert.ExpertSpec.digest`."""

    id: str
    spec_digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    weights: SignedWeights


class Statement(_Strict):
    """See the module; ``project`` and ``version`` are normalised (PEP 503, PEP 440)."""

    number: Literal[1] = Field(alias="schema")
    project: str
    version: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)
    publisher: str
    experts: list[SignedExpert]
    signed: str


def make_statement(wheel: Path, publisher: str, experts: Iterable[ExpertSpec]) -> dict[str, Any]:
    """What can be signed of a wheel file: reads all of it.

    :raises TrustError: its name is not a wheel's.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    from cogen.files import sha256_of

    try:
        project, version, _, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise TrustError(f"{wheel.name} is not the name of a wheel", hint="build it again") from error
    return {
        "schema": 1,
        "project": str(project),
        "version": str(version),
        "filename": wheel.name,
        "sha256": sha256_of(wheel),
        "size": wheel.stat().st_size,
        "publisher": publisher,
        "experts": [
            {
                "id": spec.id,
                "spec_digest": spec.digest,
                "weights": {
                    "source": spec.model.source,
                    "revision": spec.model.revision,
                    "file_digest": spec.model.file_digest,
                },
            }
            for spec in experts
        ],
        "signed": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def read_statement(statement: Any) -> Statement:
    """The checked form of a statement.

    :raises TrustError: it has another form, or is of a newer CoGen.
    """
    try:
        return Statement.model_validate(statement)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise TrustError(
            f"the signed statement cannot be read: {place}: {first['msg']}", hint="a newer CoGen may be needed"
        ) from error


def sign_statement(statement: dict[str, Any], signer: Signer, password: str | None = None) -> dict[str, Any]:
    """The bundle of a signature over ``statement``.

    :raises TrustError: the statement has another form, or the key can't be used.
    """
    read_statement(statement)
    return sign_document(statement, _NAME, signer, password)


def check_statement(statement: dict[str, Any], bundle: dict[str, Any], public_pem: str) -> None:
    """``statement`` is exactly what the owner of this key, or this identity, signed.

    :raises TrustError: it isn't, or one of the three can't be read.
    """
    read_statement(statement)
    check_document(statement, _NAME, bundle, public_pem, "the statement")

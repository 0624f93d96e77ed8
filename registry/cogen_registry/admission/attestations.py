"""PEP 740: what a build says of the file that it uploads, signed by Sigstore under the identity of the upload itself.

Kept is only what holds: the certificate and the log entry are Sigstore's, the statement is about these very bytes, and
who signed is the trusted publisher whose token uploads, or an identity that the publisher registered among its keys.
What is signed with a publisher's own key (``cogen publish``) has no certificate that PEP 740 could show: that signature
stands at ``/api/v1/releases/…`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen.trust.errors import one_line
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Exchanged, Key
from cogen_registry.errors import Refused
from cogen_registry.service import Service

#: Attestations of one file: one of each kind, and some to come.
MOST = 4
PREDICATES = ("https://docs.pypi.org/attestations/publish/v1", "https://slsa.dev/provenance/v1")
_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_HINT = "let `uv publish` or the publishing action make it from this very file, or upload without attestations"
Base64 = Annotated[str, Field(max_length=200_000, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Material(_Strict):
    """A certificate (DER), and entries of the transparency log."""

    certificate: Base64
    transparency_entries: list[dict[str, Any]] = Field(min_length=1, max_length=1)


class Envelope(_Strict):
    """A statement of in-toto, and the signature over it (DSSE)."""

    statement: Base64
    signature: Base64


class AttestationObject(_Strict):
    version: Literal[1]
    verification_material: Material
    envelope: Envelope


_LIST = TypeAdapter(list[AttestationObject])


@dataclass(frozen=True)
class Attested:
    """Attestations that hold, and who made them, as PEP 740 describes a publisher."""

    publisher: dict[str, Any]
    attestations: list[dict[str, Any]]


def checked(
    service: Service, principal: Principal, form: Mapping[str, str], sha256: str, filename: str
) -> Attested | None:
    """What came with an upload; ``None``: nothing.

    :raises Refused: 400, it does not hold, or is somebody else's; 503, Sigstore's roots can't be had.
    """
    text = form.get("attestations", "")
    if not text.strip():
        return None
    try:
        parsed = _LIST.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "attestations"
        raise Refused(400, f"the attestations are not valid (PEP 740): {where}: {first['msg']}", hint=_HINT) from None
    if not 0 < len(parsed) <= MOST:
        raise Refused(400, f"there are {len(parsed)} attestations, at most {MOST} may be", hint=_HINT)
    with service.sessions.read() as session:
        signers = _signers(session, principal)
    if not signers:
        raise Refused(
            400,
            "attestations come with a trusted publisher's token, or from a registered identity",
            hint="publish by trusted publishing, or `cogen publish --identity` once; or upload without attestations",
        )
    kinds, who = [], set()
    for one in parsed:
        statement, signer = _verified(one, signers)
        kinds.append(_check_statement(statement, sha256, filename))
        who.add(signer)
    if len(set(kinds)) != len(kinds) or len(who) != 1:
        raise Refused(400, "the attestations are two of one kind, or of different signers", hint=_HINT)
    return Attested(signers[who.pop()], [one.model_dump(mode="json") for one in parsed])


def _signers(session: Session, principal: Principal) -> dict[tuple[str, str], dict[str, Any]]:
    """(name in the certificate, issuer) → PEP 740's description of who that is."""
    from cogen.trust.identities import read_identity

    found: dict[tuple[str, str], dict[str, Any]] = {}
    exchanged = session.scalar(select(Exchanged).where(Exchanged.minted == principal.token))
    if exchanged is not None:
        claims = exchanged.claims
        found[_name(exchanged.issuer, claims), exchanged.issuer] = _described(exchanged.issuer, claims)
        return found  # a token of a build speaks for that build alone
    keys = select(Key.pem).where(Key.publisher_id == principal.id, Key.revoked.is_(None), Key.pem.startswith("{"))
    for pem in session.scalars(keys):
        if (identity := read_identity(pem)) is not None:
            found[identity.name, identity.issuer] = {
                "kind": "Sigstore",
                "identity": identity.name,
                "issuer": identity.issuer,
                "claims": None,
            }
    return found


def _name(issuer: str, claims: Mapping[str, str]) -> str:
    """What Fulcio writes into the certificate for a token of this issuer with these claims."""
    if issuer == "https://token.actions.githubusercontent.com" and "job_workflow_ref" in claims:
        return f"https://github.com/{claims['job_workflow_ref']}"
    if "ci_config_ref_uri" in claims:
        return f"https://{claims['ci_config_ref_uri']}"
    return claims.get("email") or claims.get("sub", "")


def _described(issuer: str, claims: Mapping[str, str]) -> dict[str, Any]:
    environment = claims.get("environment")
    if issuer == "https://token.actions.githubusercontent.com":
        file = claims.get("job_workflow_ref", "").partition("@")[0].rpartition("/")[2]
        return {
            "kind": "GitHub",
            "repository": claims.get("repository"),
            "workflow": file,
            "environment": environment,
            "claims": None,
        }
    if issuer == "https://gitlab.com":
        file = claims.get("ci_config_ref_uri", "").partition("@")[0].partition("//")[2]
        return {
            "kind": "GitLab",
            "repository": claims.get("project_path"),
            "workflow_filepath": file,
            "environment": environment,
            "claims": None,
        }
    return {"kind": "OIDC", "issuer": issuer, "subject": claims.get("sub"), "claims": None}


def _verified(one: AttestationObject, signers: Mapping[tuple[str, str], Any]) -> tuple[dict[str, Any], tuple[str, str]]:
    """The statement of an attestation that one of these signed.

    :raises Refused: 400, 503
    """
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify import Verifier, policy

    from cogen.errors import CogenError
    from cogen.trust.identities import trust

    try:
        roots = trust().trusted_root
    except CogenError as error:
        raise Refused(503, error.message, hint=error.hint or "try again", headers={"Retry-After": "60"}) from error
    problem = "nobody signed it"
    try:
        bundle = Bundle.from_json(json.dumps(_bundle(one)))
    except Exception as error:  # noqa: BLE001 - the library fails in many ways over bytes of strangers
        raise Refused(400, f"an attestation cannot be parsed: {one_line(error, 200)}", hint=_HINT) from None
    for name, issuer in signers:
        try:
            kind, payload = Verifier(trusted_root=roots).verify_dsse(
                bundle, policy.Identity(identity=name, issuer=issuer)
            )
        except Error as error:
            problem = one_line(error, 200)
            continue
        except Exception as error:  # noqa: BLE001
            raise Refused(400, f"attestation verification failed: {one_line(error, 200)}", hint=_HINT) from None
        if kind == _TYPE:
            return _statement(payload), (name, issuer)
        problem = f"it is of the kind {kind!r}"[:100]
    raise Refused(400, f"an attestation was not made by who uploads: {problem}", hint=_HINT)


def _bundle(one: AttestationObject) -> dict[str, Any]:
    """As Sigstore writes it."""
    material = one.verification_material
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": {"rawBytes": material.certificate},
            "tlogEntries": material.transparency_entries,
        },
        "dsseEnvelope": {
            "payload": one.envelope.statement,
            "payloadType": _TYPE,
            "signatures": [{"sig": one.envelope.signature}],
        },
    }


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        statement = None
    if not isinstance(statement, dict):
        raise Refused(400, "an attestation's statement is not JSON", hint=_HINT)
    return statement


def _check_statement(statement: dict[str, Any], sha256: str, filename: str) -> str:
    """It is about this file and no other; the kind of what it says.

    :raises Refused: 400
    """
    wanted = [{"name": filename, "digest": {"sha256": sha256}}]
    kind = statement.get("predicateType")
    if statement.get("_type") != _STATEMENT or kind not in PREDICATES:
        raise Refused(400, f"unsupported kind of attestation: {str(kind)[:100]!r}", hint=_HINT)
    if statement.get("subject") != wanted:
        raise Refused(400, f"an attestation is about something else than {filename}", hint=_HINT)
    return str(kind)


def provenance(publisher: dict[str, Any], attestations: list[Any]) -> dict[str, Any]:
    """The provenance object of a file."""
    return {"version": 1, "attestation_bundles": [{"publisher": publisher, "attestations": attestations}]}

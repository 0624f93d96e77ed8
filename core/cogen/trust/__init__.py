"""Who published these bytes: keys, signed statements about a wheel, signed folders of weights, and receipts.

The libraries for it are imported when a key or a signature is first touched. A signature is checked with a public key
that the caller brings and trusts, without any network; or as an identity of Sigstore (:mod:`cogen.trust.identities`),
whose issuer and log have to be reached for signing.
"""

from __future__ import annotations

from cogen.trust.errors import TrustError
from cogen.trust.identities import Identity, IdentitySigner, read_identity
from cogen.trust.keys import (
    Signer,
    brief,
    check_possession,
    check_succession,
    fingerprint,
    new_key,
    plain,
    prove_possession,
    prove_succession,
    proven,
    public_key,
)
from cogen.trust.signing import check_folder, sign_folder
from cogen.trust.statement import check_statement, make_statement, sign_statement

__all__ = [
    "Identity",
    "IdentitySigner",
    "Signer",
    "TrustError",
    "brief",
    "check_folder",
    "check_possession",
    "check_statement",
    "check_succession",
    "fingerprint",
    "make_statement",
    "new_key",
    "plain",
    "prove_possession",
    "prove_succession",
    "proven",
    "public_key",
    "read_identity",
    "sign_folder",
    "sign_statement",
]

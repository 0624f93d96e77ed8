"""Who published these bytes: keys, signed statements about a wheel, signed folders of weights, and receipts.

Signing needs the extra ``cogen-core[sign]``; nothing of it is imported before a key or a signature is touched. Sockets
are never used here: a signature is checked with a public key that the caller brings and trusts.
"""

from __future__ import annotations

from cogen.trust.errors import TrustError
from cogen.trust.keys import check_possession, fingerprint, new_key, prove_possession, public_key
from cogen.trust.signing import check_folder, sign_folder
from cogen.trust.statement import check_statement, make_statement, sign_statement

__all__ = [
    "TrustError",
    "check_folder",
    "check_possession",
    "check_statement",
    "fingerprint",
    "make_statement",
    "new_key",
    "prove_possession",
    "public_key",
    "sign_folder",
    "sign_statement",
]

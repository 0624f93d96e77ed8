"""The Update Framework's documents (TUF), by python-tuf: what binds a project's name to its publisher's keys.

A registry is one TUF repository under ``/tuf/``. For each project its bins name ``projects/NAME/N.root.json`` and
``projects/NAME/targets.json``: a chain of its own, whose keys are the publisher's (:mod:`.project`). A registry can
neither forge it nor exchange its keys; timestamp, snapshot and bins say that it is the newest.
"""

from cogen.trust.metadata.keys import IdentityKey, key_of, public_of, signer_of
from cogen.trust.metadata.project import Chain, ChainChanged, Entry, entry_of, new_root, new_targets, verify

__all__ = [
    "Chain",
    "ChainChanged",
    "Entry",
    "IdentityKey",
    "entry_of",
    "key_of",
    "new_root",
    "new_targets",
    "public_of",
    "signer_of",
    "verify",
]

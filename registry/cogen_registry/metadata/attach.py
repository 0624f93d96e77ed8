"""Connects the keys of a registry with its transactions."""

from __future__ import annotations

from pathlib import Path

from cogen_registry.database.sessions import Sessions
from cogen_registry.errors import Refused
from cogen_registry.metadata import state
from cogen_registry.metadata.keys import load_online
from cogen_registry.metadata.signer import Signer
from cogen_registry.metadata.watch import watch


def attach(sessions: Sessions, folder: Path, *, required: bool = True) -> Signer | None:
    """From now on what ``sessions`` write is signed with the keys in ``folder``.

    :param required: ``False``: without keys here, the service signs it a few seconds later.
    :returns: ``None``: the registry was not initialised, or the keys are not here.
    :raises Refused: 409, the keys can't be used.
    """
    with sessions.read() as session:
        if not state.initialised(session):
            return None
    try:
        signer: Signer | None = Signer(load_online(folder), folder)
    except Refused:
        if required:
            raise
        signer = None
    watch(sessions, signer)
    return signer

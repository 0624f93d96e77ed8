"""What this room keeps between requests."""

from __future__ import annotations

from dataclasses import dataclass

from cogen_registry.service import Service
from cogen_registry.weights.quota import Reservations
from cogen_registry.weights.signing import Signer, key_of
from cogen_registry.weights.xet_jobs import Jobs
from cogen_registry.weights.xet_shared import SharedXorbs
from cogen_registry.weights.xet_store import XorbStore


@dataclass
class Room:
    """One per service."""

    signer: Signer
    reservations: Reservations
    xorbs: XorbStore
    jobs: Jobs

    def close(self) -> None:
        self.jobs.close()


def room_of(service: Service) -> Room:
    room = service.rooms.get("weights")
    if room is None:
        xorbs = SharedXorbs(service) if service.sessions.postgresql else XorbStore(service.settings.root / "xet")
        xorbs.recover()
        signer = Signer(key_of(service.settings.root, service.sessions))
        room = Room(signer, Reservations(), xorbs, Jobs(service.sessions))
        service.rooms["weights"] = room
    assert isinstance(room, Room)
    return room

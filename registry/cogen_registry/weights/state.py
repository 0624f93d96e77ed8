"""What weights keep between requests."""

from __future__ import annotations

from dataclasses import dataclass

from cogen_registry.service import Service
from cogen_registry.weights.quota import Reservations
from cogen_registry.weights.signing import UrlSigner, key_of
from cogen_registry.weights.xet_jobs import Jobs
from cogen_registry.weights.xet_shared import SharedXorbs
from cogen_registry.weights.xet_store import XorbStore


@dataclass
class WeightsState:
    """One per service."""

    signer: UrlSigner
    reservations: Reservations
    xorbs: XorbStore
    jobs: Jobs

    def close(self) -> None:
        self.jobs.close()


def state_of(service: Service) -> WeightsState:
    """The one of a service; made at the first call."""
    return service.components.get_or_make(WeightsState, lambda: _make(service))


def _make(service: Service) -> WeightsState:
    xorbs = SharedXorbs(service) if service.sessions.postgresql else XorbStore(service.settings.root / "xet")
    xorbs.recover()
    signer = UrlSigner(key_of(service.settings.root, service.sessions))
    return WeightsState(signer, Reservations(), xorbs, Jobs(service.sessions))

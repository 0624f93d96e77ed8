"""``index.json``: every current card in one file, for clients that search without a service and for mirrors."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sqlalchemy import select

from cogen_registry.database.tables import Expert
from cogen_registry.experts.cards import cards_of

if TYPE_CHECKING:
    from cogen_registry.service import Service

_BATCH = 500


def write_index(service: Service, file: IO[bytes]) -> str:
    """Write the index and return its hex SHA-256. Sorted by id: the same experts give the same bytes."""
    digest = hashlib.sha256()

    def put(text: str) -> None:
        data = text.encode()
        digest.update(data)
        file.write(data)

    put(json.dumps({"schema": 1, "title": service.settings.title})[:-1] + ', "experts": [')
    with service.sessions.read() as session:
        ids = session.scalars(select(Expert.id).where(Expert.current).order_by(Expert.expert, Expert.id)).all()
        for start in range(0, len(ids), _BATCH):
            for place, card in enumerate(cards_of(session, ids[start : start + _BATCH]), start):
                put(("," if place else "") + "\n" + card.model_dump_json(exclude={"score"}))
    put("\n]}\n")
    return digest.hexdigest()


class Index:
    """The file as it was when something changed last; written at the first request after that."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._path = service.settings.root / "index.json"
        self._serial, self._digest = -1, ""
        self._lock = threading.Lock()

    def get(self) -> tuple[Path, str]:
        """(the file, its hex SHA-256)."""
        with self._lock:
            serial = self.service.serial
            if serial != self._serial:
                part = self._path.with_suffix(".part")
                with part.open("wb") as file:
                    self._digest = write_index(self.service, file)
                part.replace(self._path)
                self._serial = serial
            return self._path, self._digest

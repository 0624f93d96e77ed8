"""Signs what changed: the bins of some projects, the snapshot, the timestamp; and all of them before they expire."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from tuf.api.metadata import Metadata, MetaFile, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Project, SignedRole, Unsigned, now
from cogen_registry.errors import Refused
from cogen_registry.metadata import documents, state
from cogen_registry.metadata.keys import Online, load_online

#: How long what the service signs is valid. A client that is shown an older timestamp knows that it is shown the past.
VALID = {
    "timestamp": datetime.timedelta(days=1),
    "snapshot": datetime.timedelta(days=7),
    "bins": datetime.timedelta(days=30),
}
#: The timestamp is signed again after so long, the others when half of their time is over.
FRESH = datetime.timedelta(hours=1)
#: Bins that are renewed in one transaction: others may write between two.
_BATCH = 128


def bins_of(session: Session) -> SuccinctRoles:
    """How projects are shared out among bins."""
    targets = state.newest(session, "targets")
    assert targets is not None
    roles = targets.signed.delegations.succinct_roles
    assert isinstance(roles, SuccinctRoles)
    return roles


@dataclass
class Signer:
    """The service's keys at work. Every method belongs into a transaction that writes, and ends with it.

    ``folder``: where the keys are read again after the operator exchanged them beside the running service.
    """

    keys: Online
    folder: Path | None = None

    def ready(self, session: Session) -> None:
        """Be alone, with the keys that the operator's root names now.

        :raises Refused: 503, they are not here.
        """
        state.alone(session)
        if not self._named(session):
            if self.folder is not None:
                self.keys = load_online(self.folder)
            if not self._named(session):
                raise Refused(
                    503,
                    "the keys of this registry were exchanged, and the new ones are not here yet",
                    hint="try again in a minute; the operator puts them into the folder that the setting `keys` names",
                )

    def _named(self, session: Session) -> bool:
        root = state.newest(session, "root")
        bins = bins_of(session)
        assert root is not None
        return (
            root.signed.roles["timestamp"].keyids == [self.keys.timestamp.public_key.keyid]
            and root.signed.roles["snapshot"].keyids == [self.keys.snapshot.public_key.keyid]
            and bins.keyids == [self.keys.bins.public_key.keyid]
        )

    def change(
        self,
        session: Session,
        projects: Iterable[str] = (),
        *,
        revocations: bool = False,
        files: Mapping[str, bytes | None] | None = None,
    ) -> None:
        """Sign what is to be said of these projects now.

        :param revocations: keys were revoked, too. :param files: path → content of other files, ``None``: no longer.
        """
        self.ready(session)
        roles = bins_of(session)
        contents = dict(files or {})
        contents |= {documents.releases_path(name): documents.releases(session, name) for name in sorted(set(projects))}
        if revocations:
            contents[documents.REVOCATIONS] = documents.revocations(session)
        changed = set()
        for path, data in contents.items():
            bin = roles.get_role_for_target(path)
            if state.put_file(session, path, bin, data):
                changed.add(bin)
        if changed:
            self.sign_bins(session, changed)

    def sign_bins(self, session: Session, bins: Collection[str], *, also: Mapping[str, int] | None = None) -> None:
        """New versions of these bins, of the snapshot and of the timestamp.

        :param also: versions of other roles that the snapshot names.
        """
        moment, made = now(), []
        snapshot = state.newest(session, "snapshot")
        meta: dict[str, MetaFile] = snapshot.signed.meta if snapshot else {}
        for bin in sorted(bins):
            known = meta.get(f"{bin}.json")
            named = state.files_of(session, bin)
            targets = {path: TargetFile(length, {"sha256": sha256}, path) for path, sha256, length in named}
            document = Metadata(Targets(known.version + 1 if known else 1, None, _end("bins", moment), targets))
            document.sign(self.keys.bins)
            meta[f"{bin}.json"] = MetaFile(document.signed.version)
            made.append((bin, document))
        for role, version in (also or {}).items():
            meta[f"{role}.json"] = MetaFile(version)
        state.put_roles(session, made)
        self.sign_snapshot(session, snapshot.signed.version + 1 if snapshot else 1, meta)

    def sign_snapshot(self, session: Session, version: int, meta: dict[str, MetaFile]) -> None:
        moment = now()
        document = Metadata(Snapshot(version, None, _end("snapshot", moment), meta))
        document.sign(self.keys.snapshot)
        state.put_roles(session, [("snapshot", document)])
        self.sign_timestamp(session, MetaFile(version))
        state.prune(session)

    def sign_timestamp(self, session: Session, snapshot: MetaFile | None = None) -> None:
        """:param snapshot: ``None``: that of before."""
        before = state.newest(session, "timestamp")
        meta = snapshot or (before.signed.snapshot_meta if before else None)
        version = before.signed.version + 1 if before else 1
        document = Metadata(Timestamp(version, None, _end("timestamp", now()), meta))
        document.sign(self.keys.timestamp)
        state.put_roles(session, [("timestamp", document)])

    def renew(self, session: Session) -> bool:
        """Sign again what grows old, and what was changed without a key at hand; is there more to do?"""
        self.ready(session)
        if waiting := session.scalars(select(Unsigned.project)).all():
            session.execute(delete(Unsigned).where(Unsigned.project.in_(waiting)))
            self.change(session, [one for one in waiting if one], revocations=True)
        moment = now()
        ends = {row.role: row.expires for row in _current(session)}
        stale = sorted(
            role for role, end in ends.items() if role.startswith("bins-") and end - moment < VALID["bins"] / 2
        )
        if stale:
            self.sign_bins(session, stale[:_BATCH])
            return len(stale) > _BATCH
        if ends["snapshot"] - moment < VALID["snapshot"] / 2:
            snapshot = state.newest(session, "snapshot")
            assert snapshot is not None
            self.sign_snapshot(session, snapshot.signed.version + 1, snapshot.signed.meta)
        elif ends["timestamp"] - moment < VALID["timestamp"] - FRESH:
            self.sign_timestamp(session)
            state.prune(session)
        return False


def due(session: Session) -> bool:
    """Would :meth:`Signer.renew` do anything? Only reads."""
    if session.scalar(select(Unsigned.project).limit(1)) is not None:
        return True
    moment = now()
    limits = {"timestamp": VALID["timestamp"] - FRESH, "snapshot": VALID["snapshot"] / 2}
    for row in _current(session):
        if row.role in ("root", "targets"):
            continue
        if row.expires - moment < limits.get(row.role, VALID["bins"] / 2):
            return True
    return False


def every_project(session: Session) -> list[str]:
    return list(session.scalars(select(Project.name).order_by(Project.name)))


def revoked(session: Session) -> set[str]:
    """Fingerprints that nobody may trust."""
    data = state.read_file(session, documents.REVOCATIONS)
    return {one["fingerprint"] for one in json.loads(data)["keys"]} if data else set()


def _current(session: Session) -> Any:
    return session.execute(select(SignedRole.role, SignedRole.expires).where(SignedRole.superseded.is_(None))).all()


def _end(role: str, moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(microsecond=0) + VALID[role]

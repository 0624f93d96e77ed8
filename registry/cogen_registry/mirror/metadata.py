"""``tuf/``: the signed metadata as it is now, for clients of the mirror; it ends like that of the registry itself.

A mirror has to be exported again before its timestamp ends, every day: clients refuse an older one.
"""

from __future__ import annotations

from sqlalchemy import or_, select

from cogen_registry.database.tables import SignedFile, SignedRole
from cogen_registry.mirror.tree import Tree
from cogen_registry.service import Service

_BATCH = 200


def write_metadata(service: Service, tree: Tree) -> None:
    """All of one moment. Written before everything else: what is published meanwhile is not named yet."""
    with service.sessions.read() as session:
        rows = select(SignedRole.role, SignedRole.version).where(
            or_(SignedRole.superseded.is_(None), SignedRole.role == "root")
        )
        roles = session.execute(rows).all()
        for role, version in roles:
            data = session.scalar(select(SignedRole.data).where(SignedRole.role == role, SignedRole.version == version))
            name = f"{role}.json" if role == "timestamp" else f"{version}.{role}.json"
            tree.put(["tuf", name], data or b"")
        last = ""
        while True:
            wanted = select(SignedFile.path, SignedFile.sha256, SignedFile.data)
            wanted = wanted.where(SignedFile.superseded.is_(None), SignedFile.path > last)
            files = session.execute(wanted.order_by(SignedFile.path).limit(_BATCH)).all()
            if not files:
                break
            for one in files:
                *folder, name = one.path.split("/")
                tree.put(["tuf", "targets", *folder, f"{one.sha256}.{name}"], one.data)
            last = files[-1].path

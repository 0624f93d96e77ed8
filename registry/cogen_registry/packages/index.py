"""The simple index: pages of projects by PEP 503 (HTML) and 691 (JSON), with PEP 592, 658, 700, 708, 714 and 740."""

from __future__ import annotations

import hashlib
import html
import threading
from dataclasses import replace
from typing import Any

from packaging.version import Version
from simple_repository.content_negotiation import Format
from simple_repository.model import File, Meta, ProjectDetail, ProjectList, ProjectListElement
from simple_repository.serializer import serialize
from sqlalchemy import select

from cogen_registry.audit import removals
from cogen_registry.database.tables import Project, Release
from cogen_registry.errors import Refused, missing
from cogen_registry.packages.extras import decorated, extras_of
from cogen_registry.service import Service

_VERSION = "1.1"
#: Pages that are kept in memory until something changes.
_MOST_PAGES = 4096


class Pages:
    """Rendered pages, as new as the service's serial number. Threads share it."""

    def __init__(self, service: Service) -> None:
        self._service, self._lock = service, threading.Lock()
        self._serial, self._pages = -1, dict[tuple[str | None, Format], tuple[bytes, str]]()

    def page(self, project: str | None, form: Format) -> tuple[bytes, str]:
        """(body, ETag) of one project, or of the list of all.

        :raises Refused: 404, no version of it was released.
        """
        serial = self._service.serial  # read first: what is read of the database afterwards is at least as new
        key = project, form
        with self._lock:
            if self._serial < serial:
                self._serial, self._pages = serial, {}
            if (known := self._pages.get(key)) is not None:
                return known
        text = serialize(self._list() if project is None else self._detail(project, form), form)
        if project is not None:
            text = decorated(text, form, extras_of(self._service, project))
        body = text.encode()
        made = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        with self._lock:
            if self._serial == serial and len(self._pages) < _MOST_PAGES:
                self._pages[key] = made
        return made

    def _list(self) -> ProjectList:
        shown = select(Release.project_id).where(Release.state == "released")
        with self._service.sessions.read() as session:
            names = session.scalars(select(Project.name).where(Project.id.in_(shown)).order_by(Project.name)).all()
        # The model wants sets, whose order differs between processes; a tuple gives equal pages equal ETags.
        projects: Any = tuple(ProjectListElement(name) for name in names)
        return ProjectList(Meta(_VERSION), projects)

    def _detail(self, name: str, form: Format) -> ProjectDetail:
        with self._service.sessions.read() as session:
            shown = select(Release).join(Project).where(Project.name == name, Release.state == "released")
            releases = sorted(session.scalars(shown).all(), key=lambda one: Version(one.version))
            if not releases:
                removed = select(Release).join(Project).where(Project.name == name, Release.state == removals.REMOVED)
                if (gone := session.scalar(removed.order_by(Release.id.desc()).limit(1))) is not None:
                    removals.check_release(session, gone, f"project {name}")
        if not releases:
            raise missing(f"project {name}", "/simple/ lists all; check the spelling")
        files = tuple(_file(one) for one in releases)
        if form is not Format.JSON_V1:  # its serializer writes attributes as they are
            files = tuple(replace(one, yanked=_escaped(one.yanked)) for one in files)
        versions: Any = tuple(one.version for one in releases)
        return ProjectDetail(Meta(_VERSION), name, files, versions)


def _file(release: Release) -> File:
    return File(
        filename=release.filename,
        url=f"../../files/{release.sha256}/{release.filename}",
        hashes={"sha256": release.sha256},
        requires_python=release.requires_python,
        dist_info_metadata={"sha256": release.metadata_sha256},
        yanked=None if release.yanked is None else release.yanked or True,
        size=release.size,
        upload_time=release.created,
    )


def _escaped(reason: bool | str | None) -> bool | str | None:
    return html.escape(reason, quote=True) if isinstance(reason, str) else reason


def negotiate(accept: str) -> Format:
    """The form that a client wants most; HTML, if it doesn't say.

    :raises Refused: 406
    """
    wanted = []
    for place, token in enumerate(accept.split(",")):
        kind, *parameters = (part.strip().lower() for part in token.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            wanted.append((-float(quality), place, kind))
        except ValueError:
            continue
    for negative, _, kind in sorted(wanted):
        if negative == 0:
            break
        kind = kind.replace("simple.latest+", "simple.v1+")
        if kind in ("", "*/*", "text/*"):
            return Format.HTML_LEGACY
        if kind in [one.value for one in Format]:
            return Format(kind)
    raise Refused(
        406, "this page is there as JSON and HTML only", hint="Accept: " + ", ".join(one.value for one in Format)
    )

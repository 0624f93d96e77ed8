"""The simple index: pages of projects by PEP 503 (HTML) and 691 (JSON), with PEP 592, 658, 700, 708, 714 and 740."""

from __future__ import annotations

import hashlib
import html
from dataclasses import replace
from typing import Any

from packaging.version import Version
from simple_repository.content_negotiation import Format
from simple_repository.model import File, Meta, ProjectDetail
from simple_repository.serializer import serialize
from sqlalchemy import select

from cogen_registry.audit import removals
from cogen_registry.database.tables import Project, Release
from cogen_registry.errors import Refused, not_found
from cogen_registry.news import Heard
from cogen_registry.packages.extras import decorated, extras_of
from cogen_registry.packages.names import Names
from cogen_registry.service import Service
from cogen_registry.tag_cache import TagCache

_VERSION = "1.1"
#: Pages that are kept in memory until something changes.
_MOST_PAGES = 4096


class IndexPages:
    """Rendered pages: those of a project until it changes, the list of all changed where it does. Threads share it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: TagCache[tuple[bytes, str]] = TagCache(_MOST_PAGES)
        self._names = Names(service)
        service.follow(self._hear, rank=1)

    def _hear(self, heard: Heard) -> None:
        self._names.hear(heard)
        self._kept.drop(heard.tags)

    def page(self, project: str | None, form: Format) -> tuple[bytes, str]:
        """(body, ETag) of one project, or of the list of all.

        :raises Refused: 404, no version of it was released.
        """
        if project is None:
            return self._names.page(form)
        key, stamp = (project, form), self._kept.stamp()
        if (known := self._kept.get(key)) is not None:
            return known
        text = serialize(self._detail(project, form), form)
        body = decorated(text, form, extras_of(self._service, project)).encode()
        made = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._kept.put(key, made, (f"project:{project}",), stamp)
        return made

    def _detail(self, name: str, form: Format) -> ProjectDetail:
        with self._service.sessions.read() as session:
            shown = select(Release).join(Project).where(Project.name == name, Release.state == "released")
            releases = sorted(session.scalars(shown).all(), key=lambda one: Version(one.version))
            if not releases:
                removed = select(Release).join(Project).where(Project.name == name, Release.state == removals.REMOVED)
                if (gone := session.scalar(removed.order_by(Release.id.desc()).limit(1))) is not None:
                    removals.check_release(session, gone, f"project {name}")
        if not releases:
            raise not_found(f"project {name}", "/simple/ lists all; check the spelling")
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
        406, "this page is available as JSON and HTML only", hint="Accept: " + ", ".join(one.value for one in Format)
    )

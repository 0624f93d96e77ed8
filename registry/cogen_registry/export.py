"""`cogen-registry export`: everything that can be read, as files that any web server or object store hosts.

    index.html, experts/…, publishers/…, composites/…, static/…     pages for people
    simple/…, files/SHA256/WHEEL[.metadata|.signature.json]         the package index (pip, uv)
    api/v1/index.json, api/v1/index/…                               all experts: what `cogen search` reads
    api/v1/experts/ID[/VERSION]/index.json, api/v1/publishers/…     what `cogen add` and `cogen verify` read
    api/v1/evaluations/…, api/v1/composites/…
    NAMESPACE/NAME/resolve/…, api/models/…                          weights, see mirror/weights.py
    publishers/NAME/FINGERPRINT.pem                                 public keys
    tuf/…                                                           signed metadata, which ends after a day
    mirror.json                                                     what this is and when it was written

Lists are written before what they name: what is published meanwhile is missing, never half there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cogen_registry.database.tables import now
from cogen_registry.errors import Refused
from cogen_registry.metadata import state
from cogen_registry.mirror import api, metadata, packages, pages, weights
from cogen_registry.mirror.tree import MARK, Tree
from cogen_registry.readonly import open_readonly
from cogen_registry.settings import Settings


@dataclass(frozen=True)
class Exported:
    """``kept``: files that were there already; ``written``: bytes that were not."""

    experts: int
    files: int
    kept: int
    written: int


def export(
    settings: Settings,
    target: Path,
    url: str | None = None,
    *,
    fresh: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write the mirror to ``target``, or bring it up to date; it is replaced at the end, as a whole.

    :param url: where it will be served, for the commands on the pages.
    :param fresh: copy everything, also what seems unchanged.
    :param report: called with (documents on experts that are done, documents in all).
    :raises Refused: the root or the target is something else, or a blob is damaged; the old mirror stays.
    """
    _check_apart(settings, target)
    with open_readonly(settings) as service, Tree(target, fresh) as tree:
        with service.sessions.read() as session:
            if not state.initialised(session):
                raise Refused(
                    409,
                    f"{settings.root} is not initialised: clients refuse a mirror without signed metadata",
                    hint=f"cogen-registry init --root {settings.root}",
                )
        found = api.versions(service)
        experts = len({id for id, _ in found})
        total, done = 2 * (experts + len(found)), 0

        def advance() -> None:
            nonlocal done
            done += 1
            report(done, total)

        metadata.write_metadata(service, tree)
        packages.write_index(service, tree)
        api.write_all(service, tree, found, advance)
        pages.write_pages(service, tree, url, found, advance)
        packages.write_keys(service, tree)
        packages.write_files(service, tree)
        weights.write_weights(service, tree)
        mark = {"schema": 1, "title": settings.title, "url": url, "experts": experts, "written": now().isoformat()}
        tree.put([MARK], (json.dumps(mark, indent=2) + "\n").encode())
    return Exported(experts, tree.files, tree.kept, tree.written)


def _check_apart(settings: Settings, target: Path) -> None:
    root, folder = settings.root.resolve(), target.resolve()
    if folder == root or root in folder.parents or folder in root.parents:
        raise Refused(400, f"{target} and {settings.root} contain each other", hint="export to a folder of its own")

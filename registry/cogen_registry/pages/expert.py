"""An expert's page, and several side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, select

from cogen_registry.audit.removals import shown
from cogen_registry.database.tables import Commit, Repository
from cogen_registry.errors import Refused
from cogen_registry.experts import find
from cogen_registry.experts.models import Detail
from cogen_registry.pages import evidence, lineage
from cogen_registry.pages.site import Site
from cogen_registry.search.index import Query
from cogen_registry.service import Service

#: Experts that fit side by side.
SIDE_BY_SIDE = 4
_HF = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([0-9a-f]{40}))?")


@dataclass(frozen=True)
class Weights:
    """Where the weights of an expert lie. ``kind``: wheel, here, elsewhere."""

    kind: str
    source: str
    repository: str = ""
    revision: str = ""


def weights_of(service: Service, spec: dict[str, Any]) -> Weights:
    """In the wheel, in this registry, or somewhere else."""
    source = str(spec["model"]["source"])
    if source.startswith("package://"):
        return Weights("wheel", source)
    match = _HF.fullmatch(source)
    revision = match and (match[2] or spec["model"].get("revision"))
    if not match or not revision:
        return Weights("elsewhere", source)
    with service.sessions.read() as session:
        here = session.scalar(
            select(
                exists().where(
                    Commit.oid == revision,
                    Commit.repository_id == Repository.id,
                    Repository.key == match[1].lower(),
                    shown("repository", Repository.id),
                )
            )
        )
    return Weights("here" if here else "elsewhere", source, match[1], str(revision))


def expert(service: Service, site: Site, id: str, version: str | None = None) -> tuple[str, dict[str, Any]]:
    """Everything about one version; without ``version``, about the current one.

    :raises Refused: 404
    """
    detail = find.detail(service, id, version, site.url)
    with service.sessions.read() as session:
        newest = find.expert_row(session, id).Release.version if version is not None else detail.version
    same = find.find(service, Query(base=detail.base.digest, limit=lineage.SIBLINGS + 1))
    siblings = [card for card in same.items if card.id != id][: lineage.SIBLINGS]
    # The expert itself is in the list unless all of its versions are yanked.
    listed = any(not one.yanked for one in detail.versions)
    return "expert.html.j2", {
        "expert": detail,
        "spec": detail.spec,
        "newest": newest,
        "yanked": next((one.yanked for one in detail.versions if one.version == detail.version), None),
        "weights": weights_of(service, detail.spec),
        "blocks": evidence.blocks(detail.spec, detail.evaluations),
        "drawing": (evidence.WIDTH, evidence.HEIGHT),
        "graph": lineage.graph(detail, siblings, same.total - listed, site.links),
        "siblings": siblings,
        "tags": depends(detail) | {f"lineage:{detail.base.digest}"},
    }


def depends(detail: Detail) -> set[str]:
    """What an expert's page shows beside its own release: keys of its publisher, its repository, composites."""
    tags = {f"expert:{detail.id}", f"project:{detail.project}", "publishers"}
    if match := _HF.fullmatch(str(detail.spec["model"]["source"])):
        tags.add(f"repository:{match[1].lower()}")
    return tags | {f"composite:{one.publisher}/{one.name}" for one in detail.composites}


def compare(service: Service, site: Site, ids: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Up to four experts side by side; those that are not here are named.

    :raises Refused: 400, too many at once.
    """
    wanted = list(dict.fromkeys(id.strip().lower() for id in ids if id.strip()))
    if len(wanted) > SIDE_BY_SIDE:
        raise Refused(400, f"{len(wanted)} experts don't fit side by side", hint=f"choose at most {SIDE_BY_SIDE}")
    details, unknown = [], []
    for id in wanted:
        try:
            details.append(find.detail(service, id, None, site.url))
        except Refused:
            unknown.append(id[:60])
    return "compare.html.j2", {
        "experts": details,
        "unknown": unknown,
        "most": SIDE_BY_SIDE,
        "suites": suites(details),
        "tags": set().union(*(depends(one) for one in details)),
        # Names that are not here cost a page each, and anybody can think of any number of them.
        "keep": not unknown,
    }


def suites(details: Sequence[Detail]) -> list[tuple[dict[str, Any], list[evidence.SuiteEvidence | None]]]:
    """(suite, what each expert has on it), by the digest of the test text: equal names alone are not equal suites."""
    made = [evidence.blocks(one.spec, one.evaluations) for one in details]
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for blocks in made:
        for block in blocks:
            known.setdefault((block.suite["test"]["digest"], block.metric), block.suite)
    return [
        (suite, [next((b for b in blocks if (b.suite["test"]["digest"], b.metric) == key), None) for blocks in made])
        for key, suite in known.items()
    ]

"""Strategy ``route``: experts stay separate, and every query goes to one of them.

Nothing is fused, so experts of any architecture, tokenizer and base go together. The output is not a checkpoint but
a folder with a manifest (:mod:`.manifest`) and a centroid an expert (:mod:`.centroids`); one expert is in memory at a
time. The same code gives two baselines of every fusion (:mod:`.baselines`): the uniform ensemble and the oracle.
"""

from __future__ import annotations

from cogen.fusion.route.manifest import RouteManifest, check_unmoved, is_route, read_route
from cogen.fusion.route.members import Member, open_members
from cogen.fusion.route.router import Router, RoutingDecision

__all__ = [
    "Member",
    "RouteManifest",
    "Router",
    "RoutingDecision",
    "check_unmoved",
    "is_route",
    "open_members",
    "read_route",
]

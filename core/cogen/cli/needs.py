"""Which verbs need more than the host alone, so that `pip install cogen-core` says so before anything is fetched."""

from __future__ import annotations

from cogen.extras import require

#: Verb → extra of the distribution. A verb that is not here runs on the host alone.
NEEDS = {
    "adapter": "fuse",
    "audit": "fuse",
    "chat": "fuse",
    "eval": "fuse",
    "export": "fuse",
    "forecast": "fuse",
    "fuse": "fuse",
    "merge": "fuse",
    "methods": "fuse",
    "plan": "fuse",
    "scan": "privacy",
    "serve": "fuse",
    "train": "fuse",
    "update": "fuse",
}


def check_needs(verb: str | None) -> None:
    """:raises MissingExtraError: the libraries of ``verb`` are not installed."""
    if verb in NEEDS:
        require(NEEDS[verb], f"cogen {verb}")

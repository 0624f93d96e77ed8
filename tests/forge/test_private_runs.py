"""Runs of training in the cache: checkpoints remember text."""

from __future__ import annotations

from typing import Any

import pytest
from support.training import source

from cogen.forge.build import prepare, run_training


@pytest.mark.parametrize(("personal", "leaves"), [("present", "figures"), ("none", "heldout")])
def test_others_cannot_read_a_private_run(recipe: Any, personal: str, leaves: str) -> None:
    """A cache may be shared by all users of a machine."""
    own = source(personal_data=personal, leaves=leaves, heldout=leaves == "heldout")
    prepared = prepare(recipe(corpus={"sources": [own]}))
    assert run_training(prepared, lambda _: None).is_dir()
    assert (prepared.run.stat().st_mode & 0o777 == 0o700) is (personal == "present")

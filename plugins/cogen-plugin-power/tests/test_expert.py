"""The expert keeps the contract of CoGen. `pytest` runs what `cogen check power` prints."""

from cogen.conformance import run_checks


def test_expert_keeps_the_contract() -> None:
    """No check of the level "static" fails."""
    failed = [f"{check.name}: {check.message}" for check in run_checks("power") if check.ok is False]
    assert not failed

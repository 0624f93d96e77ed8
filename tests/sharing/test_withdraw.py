"""`cogen yank` and `cogen purge`: what a publisher takes back, and what users see then."""

from __future__ import annotations

import pytest
from support.hub import Registry
from support.trees import tree
from support.users import Users, publisher


@pytest.mark.usefixtures("quick")
def test_yank_and_its_undoing(registry: Registry, users: Users) -> None:
    """By id or by distribution; resolvers pass it over, who asks for it is told the reason."""
    team = publisher(registry, users, "yankers")
    tree(team.home / "plugin", "yanked")
    team.ok("publish", "plugin", "--yes")
    answer = team.ok("yank", "yanked==1.0", "--reason", "wrong figures")
    assert answer == {
        "project": "cogen-plugin-yanked",
        "version": "1.0",
        "yanked": True,
        "reason": "wrong figures",
    }
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    found = user("add", "yanked==1.0")
    assert (found.code, "wrong figures" in found.error) == (0, True), found.error
    # Who does not name the version does not get it, not even where no other one is left.
    for name in ("yanked", "cogen-plugin-yanked"):
        assert "yanked 1.0 was yanked by yankers: wrong figures" in user.refused("add", name)
    assert team.ok("yank", "cogen-plugin-yanked==1.0.0", "--undo")["yanked"] is False
    other = users("other")
    other.ok("login", registry.url, "--read-only")
    assert "wrong figures" not in other("add", "yanked").error


@pytest.mark.usefixtures("quick")
def test_purge(registry: Registry, users: Users) -> None:
    """Asked for by name, with a reason that everybody is told."""
    team = publisher(registry, users, "purgers")
    tree(team.home / "plugin", "purged", apart=True)
    team.ok("publish", "plugin", "--yes")
    assert "confirmation required: remove cogen-plugin-purged==1.0 from" in team.refused(
        "purge", "purged==1.0", "--reason", "a name in it", code=3
    )
    rival = publisher(registry, users, "rivals")
    assert "belongs to another publisher" in rival.refused("purge", "purged==1.0", "--reason", "not mine", "--yes")
    assert team.ok("purge", "purged==1.0", "--reason", "a name in it", "--yes") == {
        "purged": "cogen-plugin-purged==1.0",
        "reason": "a name in it",
    }
    assert team.ok("purge", "purgers/purged", "--reason", "a name in it", "--yes")["purged"] == "purgers/purged"
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    assert "a name in it" in user.refused("add", "purged==1.0")
    assert "was taken down already" in team.refused("purge", "purged==1.0", "--reason", "again", "--yes")
    assert "taken down: a name in it" in team.refused("yank", "purged==1.0")


@pytest.mark.parametrize("verb", [("yank",), ("purge", "--reason", "a reason", "--yes")])
@pytest.mark.parametrize("name", ["power", "power==", "power==one", "==1.0", "pow er==1.0"])
def test_what_names_no_release(registry: Registry, users: Users, verb: tuple[str, ...], name: str) -> None:
    user = users("careless")
    user.ok("login", registry.url, "--read-only")
    assert "is not NAME==VERSION" in user.refused(verb[0], name, *verb[1:], code=3)


def test_undo_has_no_reason(registry: Registry, users: Users) -> None:
    user = users("both")
    user.ok("login", registry.url, "--read-only")
    assert "exclude each other" in user.refused("yank", "power==1.0", "--undo", "--reason", "why", code=3)

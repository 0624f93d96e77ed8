"""Data or code on the whole way: admission says it, search shows it, add looks for itself."""

from __future__ import annotations

import pytest
from support.hub import Registry
from support.trees import tree
from support.users import Users, publisher


@pytest.mark.usefixtures("quick")
def test_everybody_sees_it_and_code_is_asked_for(registry: Registry, users: Users) -> None:
    team = publisher(registry, users, "coders")
    tree(team.home / "data", "plainly")
    team.ok("publish", "data", "--yes")
    folder = tree(team.home / "code", "codely", title="Hooks of ours")
    (folder / "cogen_plugin_codely" / "hooks.py").write_text("import os\n")
    team.ok("publish", "code", "--yes")

    user = users("user")
    user.ok("login", registry.url, "--read-only")
    found = {one["id"]: one["code"] for one in user.ok("search", "--limit", "100")["experts"]}
    assert (found["plainly"], found["codely"]) == (False, True)
    assert user.ok("add", "plainly", "--dry-run")["kind"] == "data"
    before = user.whole()
    assert "--allow-code accepts this very file" in user.refused("add", "codely")
    assert user.whole() == before
    assert user.ok("add", "codely", "--allow-code")["kind"] == "code"
    assert 'code = "allowed"' in user.project.read_text()
    assert user.ok("add", "codely")["kind"] == "code"  # the same file again
    assert user.ok("verify", "codely")["findings"][0]["kind"] == "code"
    assert user.ok("show", "codely")["code"] is True
    user.ok("add", "plainly")
    assert user.ok("show", "plainly")["code"] is False


@pytest.mark.usefixtures("quick")
def test_a_registry_that_calls_code_data(registry: Registry, users: Users) -> None:
    from sqlalchemy import update

    from cogen_registry.database.tables import Release

    team = publisher(registry, users, "liars")
    folder = tree(team.home / "code", "lied")
    (folder / "cogen_plugin_lied" / "hooks.py").write_text("import os\n")
    team.ok("publish", "code", "--yes")
    with registry.service.sessions.write() as session:
        session.execute(update(Release).where(Release.filename.like("%lied%")).values(code=False))
    registry.service.changed()
    user = users("user")
    user.ok("login", registry.url, "--read-only")
    (card,) = [one for one in user.ok("search", "--limit", "100")["experts"] if one["id"] == "lied"]
    assert card["code"] is False
    assert "holds code" in user.refused("add", "lied")
    assert user.installed() == []

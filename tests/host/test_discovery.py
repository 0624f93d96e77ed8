"""Every bad plugin is survived and explained, and listing runs none of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.manifests import install, manifest
from support.sites import run_python

from cogen.errors import PluginError, UsageError
from cogen.host import Host, Plugin
from cogen.spec.expert import ExpertSpec


def only(host: Host) -> Plugin:
    assert len(host.plugins) == 1
    return host.plugins[0]


def test_valid_plugin_is_ok(site: Path) -> None:
    """A valid manifest gives an expert that knows where it is installed."""
    root = install(site, "power")
    host = Host.discover()
    plugin = only(host)
    assert (plugin.state, plugin.reason, plugin.hint) == ("ok", None, None)
    assert plugin.expert is not None
    assert plugin.expert.root == root
    assert plugin.expert.spec == ExpertSpec.model_validate(manifest("power"))
    assert host.experts() == (plugin.expert,)
    assert host.expert("power") is plugin.expert


def test_order_is_by_distribution_and_name(site: Path) -> None:
    """The order of plugins does not depend on the order in which they were installed."""
    for id, distribution in (("bb", "Z_last"), ("aa", "a.first"), ("cc", "m-middle")):
        install(site, id, distribution=distribution)
    assert [plugin.name for plugin in Host.discover().plugins] == ["aa", "cc", "bb"]
    assert [expert.id for expert in Host.discover().experts()] == ["aa", "bb", "cc"]


@pytest.mark.parametrize(
    ("changes", "state", "reason", "hint"),
    [
        ({"plugin_api": 2, "future": {"field": 1}}, "incompatible", "plugin_api 2", "--upgrade cogen-core"),
        ({"plugin_api": "1"}, "broken", "plugin_api must be an integer", "plugin_api = 1"),
        ({"plugin_api": True}, "broken", "plugin_api must be an integer", "plugin_api = 1"),
        ({"plugin_api": None}, "broken", "plugin_api must be an integer", "plugin_api = 1"),
        ({"title": None}, "broken", "`title` is missing", "cogen schema"),
        ({"titel": "typo"}, "broken", "`titel` is not a field", "cogen schema"),
        ({"license": "free"}, "broken", "`license`: 'free' is not an SPDX", "cogen schema"),
        ({"suites": []}, "broken", "leaving `suites` out needs schema_version = 2", "cogen schema"),
        ({"toml": "a = [\n"}, "broken", "not valid TOML", "line"),
        ({"toml": None}, "broken", "expert.toml is missing", "__init__.py"),
        ({"entry": "other"}, "broken", "called 'other', but expert.toml says id = 'power'", "entry-points.cogen"),
        ({"value": "os.path"}, "broken", "'os.path' is not the name of a top-level package", "without dots"),
        ({"value": "cogen_plugin_power:x"}, "broken", "not the name of a top-level package", "colon"),
        ({"value": "no_such_package"}, "broken", "'no_such_package' is not installed", "reinstall"),
        ({"value": "this"}, "broken", "single module, not a package", "__init__.py"),
    ],
)
def test_bad_manifest_is_a_value_with_a_reason(
    site: Path, changes: dict[str, object], state: str, reason: str, hint: str
) -> None:
    """Nothing raises: the plugin gets a state, a one-line reason and a hint, and the others go on."""
    install(site, "power", **changes)  # type: ignore[arg-type]
    install(site, "zebra")
    host = Host.discover()
    bad, good = host.plugins
    assert bad.state == state
    assert reason in (bad.reason or "")
    assert hint in (bad.hint or "")
    assert "\n" not in (bad.reason or "") + (bad.hint or "")
    assert good.state == "ok"
    assert [expert.id for expert in host.experts()] == ["zebra"]


@pytest.mark.parametrize("path", ["suites/heldout.yaml", "suites/dev.jsonl", "suites/test.jsonl", "samples.jsonl"])
def test_missing_file_breaks_the_plugin(site: Path, path: str) -> None:
    """A file that the manifest promises and the wheel lacks is named."""
    (install(site, "power") / path).unlink()
    plugin = only(Host.discover())
    assert plugin.state == "broken"
    assert f"{path} is missing" in (plugin.reason or "")
    assert "cogen-plugin-power" in (plugin.hint or "")


def test_reasons_name_nested_fields(site: Path) -> None:
    """A field inside a table of an array is named as a person would write it."""
    source = manifest("power")["data"]["sources"][0] | {"share": 7}
    install(site, "power", data=manifest("power")["data"] | {"sources": [source]})
    assert "`data.sources[0].share`" in (only(Host.discover()).reason or "")


def test_same_id_twice_makes_both_unusable(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never last-wins: of two distributions with one id none is used, until the user picks one."""
    for letter in "ab":
        install(site, "power", distribution=f"{letter}-power", module=f"{letter}_power")
    host = Host.discover()
    assert [plugin.state for plugin in host.plugins] == ["duplicate", "duplicate"]
    assert host.experts() == ()
    assert "b-power" in (host.plugins[0].reason or "")
    assert "COGEN_PREFER=power=a-power" in (host.plugins[0].hint or "")
    with pytest.raises(PluginError, match="duplicate"):
        host.expert("power")
    monkeypatch.setenv("COGEN_PREFER", "power=b_power")
    host = Host.discover()
    assert [plugin.state for plugin in host.plugins] == ["duplicate", "ok"]
    assert host.expert("power").distribution == "b-power"
    monkeypatch.delenv("COGEN_PREFER")
    monkeypatch.setenv("COGEN_BLOCK", "a-power")
    assert [plugin.state for plugin in Host.discover().plugins] == ["blocked", "ok"]


def test_settings_choose_plugins(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COGEN_PLUGINS allows by expert or distribution; empty allows none; COGEN_BLOCK forbids."""
    for id in ("aa", "bb", "cc"):
        install(site, id)
    monkeypatch.setenv("COGEN_PLUGINS", "aa, cogen-plugin-bb")
    assert [plugin.state for plugin in Host.discover().plugins] == ["ok", "ok", "blocked"]
    monkeypatch.setenv("COGEN_BLOCK", "bb")
    assert [expert.id for expert in Host.discover().experts()] == ["aa"]
    monkeypatch.setenv("COGEN_PLUGINS", "")
    assert Host.discover().experts() == ()


@pytest.mark.parametrize("variable", ["COGEN_PLUGINS", "COGEN_BLOCK"])
def test_unknown_name_in_a_setting_is_an_error(site: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A misspelt name in a block list must not let through what it was meant to stop."""
    install(site, "power")
    monkeypatch.setenv(variable, "powre")
    with pytest.raises(UsageError, match="powre") as caught:
        Host.discover()
    assert caught.value.hint == "did you mean 'power'?"


@pytest.mark.parametrize("value", ["power", "power=elsewhere", "=x", "other=cogen-plugin-power"])
def test_bad_preference_is_an_error(site: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """COGEN_PREFER names an installed expert and one of its distributions."""
    install(site, "power")
    monkeypatch.setenv("COGEN_PREFER", value)
    with pytest.raises(UsageError, match="COGEN_PREFER"):
        Host.discover()


def test_strict_raises_for_the_first_bad_plugin(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COGEN_STRICT=1 turns the first state that is not ok into an error that names the plugin."""
    install(site, "power", title=None)
    assert only(Host.discover()).state == "broken"
    monkeypatch.setenv("COGEN_STRICT", "1")
    with pytest.raises(PluginError, match=r"power .* is broken") as caught:
        Host.discover()
    assert caught.value.plugin == "cogen-plugin-power"
    assert only(Host.discover(strict=False)).state == "broken"


def test_unknown_expert_gets_a_suggestion(site: Path) -> None:
    """`did you mean`: the nearest installed id."""
    install(site, "power")
    with pytest.raises(UsageError) as caught:
        Host.discover().expert("powr")
    assert caught.value.hint == "did you mean 'power'?"


def test_distribution_found_twice_is_noted(site: Path, tmp_path: Path) -> None:
    """The first on sys.path is used, as the import system does, and the second is remembered."""
    install(site, "power")
    stale = tmp_path / "stale"
    stale.mkdir()
    install(stale, "power")
    host = Host.discover(path=[str(site), str(stale)])
    assert only(host).state == "ok"
    (shadow,) = host.shadowed
    assert shadow.distribution == "cogen-plugin-power"
    assert shadow.location.startswith(str(stale))


@pytest.mark.parametrize(("old", "new"), [("0.9", "1.0"), ("1.0rc1", "1.0"), ("1.0.dev2", "1.0"), ("broken", "1.0")])
def test_metadata_of_a_former_version_beside_the_new_one(site: Path, old: str, new: str) -> None:
    """An installation that was interrupted leaves it: the newer one is listed, the other is remembered."""
    install(site, "power")
    info = site / f"cogen_plugin_power-{new}.dist-info"
    stale = site / f"cogen_plugin_power-{old}.dist-info"
    shutil.copytree(info, stale)
    (stale / "METADATA").write_text((info / "METADATA").read_text().replace("Version: 1.0", f"Version: {old}"))
    host = Host.discover()
    assert (only(host).version, only(host).state) == (new, "ok")
    (shadow,) = host.shadowed
    assert (shadow.version, Path(shadow.location).name, Path(shadow.used).name) == (old, stale.name, info.name)


def test_versions_are_compared_as_versions(site: Path) -> None:
    """0.10 is newer than 0.9, and 10.0 than 9.0, though not by the alphabet."""
    install(site, "power")
    info = site / "cogen_plugin_power-1.0.dist-info"
    for version in ("10.0", "9.0", "0.10"):
        newer = site / f"cogen_plugin_power-{version}.dist-info"
        shutil.copytree(info, newer)
        (newer / "METADATA").write_text((info / "METADATA").read_text().replace("Version: 1.0", f"Version: {version}"))
    host = Host.discover()
    assert only(host).version == "10.0"
    assert sorted(shadow.version for shadow in host.shadowed) == ["0.10", "1.0", "9.0"]


def test_a_new_version_that_is_no_plugin_any_more(site: Path) -> None:
    """The entry point of the former version's metadata is not one."""
    install(site, "power")
    newer = site / "cogen_plugin_power-2.0.dist-info"
    newer.mkdir()
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: cogen-plugin-power\nVersion: 2.0\n")
    host = Host.discover()
    assert host.plugins == ()
    (shadow,) = host.shadowed
    assert shadow.version == "1.0"


def test_index_follows_changes(site: Path) -> None:
    """A manifest that changes between two listings is read again; one that is unchanged is not parsed again."""
    root = install(site, "power")
    assert only(Host.discover()).state == "ok"
    (root / "expert.toml").write_text("broken = [")
    assert only(Host.discover()).state == "broken"


def test_damaged_index_is_ignored(site: Path, tmp_path: Path) -> None:
    """The index is a cache: whatever stands in it, the listing is right."""
    install(site, "power")
    Host.discover()
    (index,) = (tmp_path / "cache").glob("manifests-*.json")
    index.write_text("{")
    assert only(Host.discover()).state == "ok"


def test_listing_runs_no_plugin_code_and_no_torch(site: Path, tmp_path: Path) -> None:
    """Plugins that would end the process, print or load torch when imported are listed without being imported."""
    install(site, "exit", init="raise SystemExit(7)")
    install(site, "loud", init="print('imported')")
    install(site, "heavy", init="import torch")
    install(site, "crash", init="import os; os._exit(9)")
    code = """
import sys
from cogen.host import Host
host = Host.discover(path=[sys.path[1]])
heavy = {"torch", "transformers", "numpy", "typer", "rich", "pluggy"} & set(sys.modules)
ours = [name for name in sys.modules if name.startswith("cogen_plugin")]
print([e.id for e in host.experts()], heavy, ours)
"""
    output = run_python(code, site, tmp_path / "cache")
    assert output.strip() == "['crash', 'exit', 'heavy', 'loud'] set() []"
    # with the index there, not even the models of the contract are needed
    again = run_python(code + "print('pydantic' in sys.modules)", site, tmp_path / "cache")
    assert again.strip().endswith("False")


def test_import_cogen_imports_nothing(site: Path, tmp_path: Path) -> None:
    """`import cogen` costs nothing: the public names are loaded when they are used."""
    output = run_python("import sys, cogen; print({'torch', 'pydantic', 'pluggy'} & set(sys.modules))", site, tmp_path)
    assert output.strip() == "set()"


def test_thousand_plugins_at_once(site: Path) -> None:
    """1,000 plugins are found, in order, and the broken one among them does no harm."""
    import tomlkit

    text = tomlkit.dumps(manifest("x0000"))
    for i in range(1000):
        id = f"x{i:04}"
        package = site / f"cogen_plugin_{id}"
        package.mkdir()
        (package / "expert.toml").write_text(text.replace("x0000", id) if i != 500 else "[")
        for name in ("suites/heldout.yaml", "suites/dev.jsonl", "suites/test.jsonl", "samples.jsonl", "weights/w"):
            (package / name).parent.mkdir(exist_ok=True)
            (package / name).touch()
        info = site / f"cogen_plugin_{id}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: cogen-plugin-{id}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cogen]\n{id} = cogen_plugin_{id}\n")
    host = Host.discover()
    assert [plugin.name for plugin in host.plugins] == [f"x{i:04}" for i in range(1000)]
    assert [plugin.name for plugin in host.plugins if plugin.state != "ok"] == ["x0500"]

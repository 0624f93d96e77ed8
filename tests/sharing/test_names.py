"""The attacks that The Update Framework is about, over real sockets: by a messenger, and by who stole online keys."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import shelf
from support.hub import Registry, running
from support.naming import Messenger, Ring, messenger, statement
from support.servers import serving

from cogen import trust
from cogen.remote import Client
from cogen.remote.errors import RegistryError
from cogen.sharing.names import Untold, folder_of, open_names, pinned_identity
from cogen.sharing.publishing import rotation
from cogen.sharing.publishing.chain import vouch
from cogen.trust import TrustError
from cogen.trust.metadata.keys import key_of, signer_of
from cogen.trust.metadata.project import ChainChanged, bytes_of, entry_of, new_root, new_targets, sign
from cogen.trust.pins import Pin, pins_of, update
from cogen.trust.registries import Registry as Known
from cogen_registry.errors import Refused
from cogen_registry.metadata import documents, setup, signer
from cogen_registry.metadata.keys import load_offline, load_online, make_offline, make_online

PROJECT = "cogen-plugin-power"
PAST = datetime.timedelta(seconds=-1)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running(tmp_path / "registry", verify_elsewhere=False) as opened:
        yield opened


@pytest.fixture
def ring(registry: Registry, tmp_path: Path) -> Ring:
    return Ring(registry, tmp_path)


@pytest.fixture
def bringing(ring: Ring) -> Iterator[Messenger]:
    """A client saw ``power`` 1.0 over this messenger, and pinned what it saw."""
    ring.publish("power")
    with messenger(ring.registry) as found:
        names = found.names()
        pin(names, PROJECT)
        yield found


def pin(names: Any, project: str) -> None:
    chain = names.chain(project)
    update(names.identity, projects={project: Pin(bytes_of(chain.root), chain.targets.signed.version)})


def read(bringing: Messenger) -> Any:
    """Everything that `cogen add` reads of a project."""
    names = bringing.names()
    names.releases(PROJECT)
    return names.chain(PROJECT)


def renewed(registry: Registry, **options: Any) -> None:
    """The operator signs root and targets again."""
    service = registry.service
    with service.sessions.write() as session:
        online = load_online(service.settings.keys_folder)
        setup.renew(session, online, load_offline([shelf.offline()], None), **options)


class TestMessenger:
    """Who sits between client and registry, or runs a mirror: without any key."""

    def test_an_honest_one_is_believed(self, bringing: Messenger, ring: Ring) -> None:
        ring.publish("power", "1.1")
        names = bringing.names()
        assert [one.version for one in names.releases(PROJECT)] == ["1.0", "1.1"]
        chain = names.chain(PROJECT)
        assert chain is not None
        assert sorted(chain.keys) == [trust.fingerprint(trust.public_key(ring.key("team")))]
        assert [entry.version for entry in chain.entries()] == ["1.0", "1.1"]

    def test_one_that_shows_the_past(self, bringing: Messenger, ring: Ring) -> None:
        """Who saw the newer state refuses the older one."""
        old = bringing.old()
        ring.publish("power", "1.1")
        bringing.names()
        bringing.bend = old
        with pytest.raises(TrustError, match="shows an older state than it did before"):
            bringing.names()

    @pytest.mark.parametrize("role", ["timestamp", "snapshot", "bins"])
    def test_one_that_stands_still(
        self, bringing: Messenger, ring: Ring, role: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the service signs ends: a frozen copy is refused by somebody new, too."""
        with monkeypatch.context() as patch:
            patch.setitem(signer.VALID, role, PAST)
            shelf.put(ring.registry.service, "power", "1.1")
            with pytest.raises(TrustError, match="signed is too old") as caught:
                bringing.names().releases(PROJECT)
        assert "mirror" in str(caught.value.hint)

    @pytest.mark.parametrize("role", ["root", "targets"])
    def test_an_operator_who_forgets_to_renew(
        self, bringing: Messenger, ring: Ring, role: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = getattr(setup, f"_{role}")

        def short(*arguments: Any) -> Any:
            document = made(*arguments)
            document.signed.expires = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
            return document

        with monkeypatch.context() as patch:
            patch.setattr(setup, f"_{role}", short)
            renewed(ring.registry)
            with pytest.raises(TrustError, match=rf"signed is too old.*{role}"):
                bringing.names().releases(PROJECT)
        renewed(ring.registry)
        assert bringing.names().releases(PROJECT)

    def test_one_that_mixes_new_and_old(self, bringing: Messenger, ring: Ring) -> None:
        """A new timestamp with the snapshot of before, a new snapshot with an old bin, a new bin with an old file."""
        before = dict(bringing.brought)
        ring.publish("power", "1.1")
        for kind in ("snapshot.json", "bins-", "targets.json"):
            old = [body for path, body in before.items() if kind in path and not path.endswith(".targets.json")]
            if kind == "targets.json":
                old = [body for path, body in before.items() if "/projects/" in path and path.endswith("targets.json")]
            bringing.bend = lambda path, body, kind=kind, old=old: (  # type: ignore[misc]
                old[0] if kind in path and ("/projects/" in path or kind != "targets.json") else body
            )
            with pytest.raises(TrustError):
                bringing.names().chain(PROJECT)
        bringing.bend = lambda path, body: body
        assert bringing.names().chain(PROJECT) is not None

    @pytest.mark.parametrize("lost", ["revocations.json", "targets.json", "releases.json", "bins-", "snapshot"])
    def test_one_that_leaves_something_out(self, bringing: Messenger, ring: Ring, lost: str) -> None:
        """A revocation, say: what the metadata names has to come."""
        ring.sign({documents.REVOCATIONS: b'{"schema":1,"keys":[]}'}, PROJECT)
        ring.publish("power", "1.1")
        bringing.bend = lambda path, body: 404 if lost in path else body
        with pytest.raises(TrustError, match="leaves out signed metadata"):
            read(bringing)

    @pytest.mark.parametrize("part", ["timestamp", "snapshot", "bins-", "root.json", "projects/"])
    def test_one_that_changes_a_byte(self, bringing: Messenger, ring: Ring, part: str) -> None:
        ring.publish("power", "1.1")
        renewed(ring.registry)

        def bend(path: str, body: bytes) -> bytes:
            return body.replace(b'"version":', b'"version": 1') if part in path and b'"version":' in body else body

        bringing.bend = bend
        with pytest.raises(TrustError):
            read(bringing)
        bringing.bend = lambda path, body: body
        assert bringing.names().chain(PROJECT) is not None

    @pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"signed": 1}'])
    def test_one_that_brings_nonsense(self, bringing: Messenger, ring: Ring, junk: bytes) -> None:
        ring.publish("power", "1.1")
        for part in ("timestamp", "snapshot", "bins-", "projects/"):
            bringing.bend = lambda path, body, part=part: junk if part in path else body  # type: ignore[misc]
            with pytest.raises(TrustError):
                bringing.names().chain(PROJECT)

    def test_one_that_never_ends(self, bringing: Messenger) -> None:
        """However long a document is, no more is read than it may have."""

        def endless(handler: Any) -> None:
            handler.send_response(200)
            handler.end_headers()
            try:
                for _ in itertools.repeat(None):
                    handler.wfile.write(b" " * 65536)
            except OSError:
                pass

        with serving(endless) as server, pytest.raises((TrustError, RegistryError), match=r"more than"):
            open_names(Client(Known(server.url)))
        bringing.bend = lambda path, body: b" " * 20_000_000 if "timestamp" in path else body
        with pytest.raises(TrustError, match="sends more than it promised"):
            bringing.names()

    def test_one_that_is_another_registry(
        self, bringing: Messenger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shelf, "fresh_root", lambda root: shelf.initialise(root) or root)  # keys of its own
        with running(tmp_path / "other") as other, messenger(other) as stranger:
            kept = folder_of(bringing.url)
            kept.rename(folder_of(stranger.url))  # as if it answered under the name of the first
            for minor in range(9):  # until its versions are no older: then only the keys differ
                shelf.put(other.service, "wind", f"1.{minor}")
            with pytest.raises(TrustError, match="not signed by its keys"):
                stranger.names()

    def test_one_that_takes_everything_away(self, bringing: Messenger) -> None:
        bringing.bend = lambda path, body: 404 if path.startswith("/tuf/") else body
        with pytest.raises(TrustError, match="leaves out signed metadata"):
            bringing.names()


class TestRoot:
    def test_the_first_one_is_pinned_and_compared(self, ring: Ring) -> None:
        client = Client(Known(ring.registry.url))
        with ring.registry.service.sessions.read() as session:
            newest = setup.fingerprint(session)
        with pytest.raises(TrustError, match="not sha256:0000"):
            open_names(client, root_key="sha256:" + "0" * 64)
        assert pinned_identity(client.url) is None
        assert open_names(client, root_key=newest[:30]).root == newest
        assert pinned_identity(client.url) == newest

    def test_its_keys_are_exchanged_and_clients_follow(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        new = make_offline(tmp_path / "new", 2, None)
        renewed(ring.registry, keys=new, threshold=2)
        names = bringing.names()
        assert names.identity == pinned_identity(bringing.url)
        assert names.root != names.identity
        assert names.chain(PROJECT) is not None
        # whoever was told the newest fingerprint finds it, too; with the old keys nothing can be signed any more
        assert open_names(Client(Known(ring.registry.url)), root_key=names.root).identity == names.identity
        with pytest.raises(Refused, match="are not 2 of the root's keys"):
            renewed(ring.registry)

    def test_one_key_of_two_is_not_enough(self, ring: Ring) -> None:
        service = ring.registry.service
        online, one = load_online(service.settings.keys_folder), shelf.offline() / "root-1.pem"
        with service.sessions.write() as session, pytest.raises(Refused, match="are not 2 of the root's keys"):
            setup.renew(session, online, load_offline([one], None))

    def test_versions_that_ran_away_are_recovered(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        """Fast-forward: a thief signs version 10⁶; the operator exchanges the online keys, and clients go on."""
        service = ring.registry.service
        assert service.signer is not None
        with service.sessions.write() as session:
            from cogen_registry.metadata import state

            snapshot = state.newest(session, "snapshot")
            assert snapshot is not None
            service.signer.sign_snapshot(session, 1_000_000, snapshot.signed.meta)
        bringing.names()
        restored = make_online(tmp_path / "keys.new")
        with service.sessions.write() as session:
            from sqlalchemy import delete

            from cogen_registry.database.tables import SignedRole

            session.execute(delete(SignedRole).where(SignedRole.role == "snapshot", SignedRole.version == 1_000_000))
            session.execute(delete(SignedRole).where(SignedRole.role == "timestamp"))
        with service.sessions.write() as session:
            setup.renew(session, restored, load_offline([shelf.offline()], None), new=restored)
        service.signer.keys = restored
        assert bringing.names().chain(PROJECT) is not None

    def test_a_registry_that_signs_nothing(self, registry: Registry) -> None:
        with serving(lambda handler: handler.send_error(404)) as server, pytest.raises(Untold, match="signs nothing"):
            open_names(Client(Known(server.url)))


class TestThief:
    """Who stole the service's keys signs what he wants of a project, but for what only its publisher can."""

    def test_cannot_exchange_the_keys(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        trust.new_key(tmp_path / "thief.pem")
        thief = signer_of(tmp_path / "thief.pem")
        root = sign(new_root(PROJECT, [thief.public_key]), [thief])
        targets = sign(new_targets(PROJECT, 9, [entry_of(statement("power", "9.0"))]), [thief])
        ring.sign({documents.root_path(PROJECT, 1): bytes_of(root), documents.targets_path(PROJECT): bytes_of(targets)})
        with pytest.raises(ChainChanged, match="the keys of before did not sign that"):
            bringing.names().chain(PROJECT)

    def test_cannot_add_a_key(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        trust.new_key(tmp_path / "thief.pem")
        thief, names = signer_of(tmp_path / "thief.pem"), bringing.names()
        chain = names.chain(PROJECT)
        assert chain is not None
        following = new_root(PROJECT, [thief.public_key], before=chain.root.signed)
        ring.sign(
            {
                documents.root_path(PROJECT, 2): bytes_of(sign(following, [thief])),
                documents.targets_path(PROJECT): bytes_of(sign(new_targets(PROJECT, 9, []), [thief])),
            }
        )
        with pytest.raises(ChainChanged, match="the keys of before did not sign that"):
            bringing.names().chain(PROJECT)

    def test_cannot_borrow_a_key(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        """A first root that names the publisher's key beside his own: whose key it is has to sign, too."""
        trust.new_key(tmp_path / "thief.pem")
        thief = signer_of(tmp_path / "thief.pem")
        mine = key_of(trust.public_key(ring.key("team")))
        root = sign(new_root(PROJECT, [thief.public_key, mine]), [thief])
        targets = sign(new_targets(PROJECT, 9, [entry_of(statement("power", "9.0"))]), [thief])
        ring.sign({documents.root_path(PROJECT, 1): bytes_of(root), documents.targets_path(PROJECT): bytes_of(targets)})
        with pytest.raises(TrustError, match="did not agree to sign"):
            bringing.names().chain(PROJECT, pinned=False)

    def test_cannot_count_one_key_twice(self, ring: Ring, bringing: Messenger) -> None:
        true = json.loads(ring.read(documents.root_path(PROJECT, 1)))
        key = next(iter(true["signed"]["keys"].values()))
        true["signed"]["keys"]["0" * 64] = key
        ring.sign({documents.root_path(PROJECT, 1): json.dumps(true).encode()})
        with pytest.raises(TrustError, match="not listed under its own fingerprint"):
            bringing.names().chain(PROJECT, pinned=False)

    def test_cannot_bring_back_an_old_list(self, bringing: Messenger, ring: Ring) -> None:
        old = ring.read(documents.targets_path(PROJECT))
        ring.publish("power", "1.1")
        names = bringing.names()
        pin(names, PROJECT)
        ring.sign({documents.targets_path(PROJECT): old})
        with pytest.raises(TrustError, match="is older"):
            bringing.names().chain(PROJECT)

    def test_cannot_bring_back_old_keys(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        old = ring.chain_files(PROJECT)
        rotation.rotate(ring.client("team"), ring.key("team"), tmp_path / "next.pem", lambda _: None)
        pin(bringing.names(), PROJECT)
        ring.sign({documents.root_path(PROJECT, 2): None, **old})
        with pytest.raises(TrustError, match="older than those that were seen"):
            bringing.names().chain(PROJECT)

    def test_cannot_exchange_projects(self, bringing: Messenger, ring: Ring) -> None:
        """Another project of the same publisher, with the same key."""
        ring.publish("rotten", "7.0")
        files = ring.chain_files("cogen-plugin-rotten")
        ring.sign({path.replace("rotten", "power"): data for path, data in files.items()})
        with pytest.raises(TrustError, match="is of 'cogen-plugin-rotten'"):
            bringing.names().chain(PROJECT, pinned=False)

    def test_cannot_take_the_keys_away(self, bringing: Messenger, ring: Ring) -> None:
        """Nothing falls back to unsigned."""
        ring.sign(dict.fromkeys(ring.chain_files(PROJECT)))
        with pytest.raises(TrustError, match="and is not any more"):
            bringing.names().chain(PROJECT)

    def test_cannot_unsay_a_revocation(self, bringing: Messenger, ring: Ring) -> None:
        key = trust.fingerprint(trust.public_key(ring.key("team")))
        entry = {
            "fingerprint": key,
            "publisher": "team",
            "by": "operator",
            "when": "2026-01-01",
            "reason": "stolen",
        }
        with ring.registry.service.sessions.read() as session:
            data = documents.revocations(session, entry)
        ring.sign({documents.REVOCATIONS: data})
        with pytest.raises(TrustError, match=f"signed with a key that was revoked: {key}"):
            bringing.names().chain(PROJECT)
        ring.sign({documents.REVOCATIONS: None})
        names = bringing.names()
        assert "stolen" in names.revoked[key]
        with pytest.raises(TrustError, match="was revoked"):
            names.chain(PROJECT)


class TestKeys:
    def test_a_key_is_exchanged_by_the_old_ones_signature(
        self, bringing: Messenger, ring: Ring, tmp_path: Path
    ) -> None:
        ring.publish("wind")
        ring.publish("coal", team="rival")
        done = rotation.rotate(ring.client("team"), ring.key("team"), tmp_path / "next.pem", lambda _: None)
        assert done.projects == ["cogen-plugin-power", "cogen-plugin-wind"]
        assert rotation.rotate(ring.client("team"), ring.key("team"), tmp_path / "next.pem", print).projects == []
        names = bringing.names()
        for project in done.projects:
            chain = names.chain(project)  # pinned with the old key
            assert chain is not None
            assert list(chain.keys) == [done.new]
            assert set(chain.known) == {done.old, done.new}
        other = names.chain("cogen-plugin-coal")
        assert other is not None
        assert done.new not in other.keys
        # the old key adds nothing any more, at the registry neither
        with pytest.raises(TrustError, match="is bound to the key"):
            vouch(ring.client("team"), PROJECT, [statement("power", "1.0") | {"size": 9}], ring.key("team"))

    def test_lost_keys_are_recovered_by_the_operator(self, bringing: Messenger, ring: Ring, tmp_path: Path) -> None:
        from cogen_registry.names.chains import recover

        service = ring.registry.service
        lost, identity = ring.keys.pop("team"), bringing.names().identity
        user = pins_of(identity).projects[PROJECT]  # user and publisher share their settings here
        with service.sessions.write() as session:
            assert service.signer is not None
            service.signer.change(session, [PROJECT], files=recover(session, PROJECT, "the laptop burnt"))
            from sqlalchemy import select

            from cogen_registry.database.tables import Key, now

            for key in session.scalars(select(Key)):
                key.revoked = now()
        assert lost.exists()
        with pytest.raises(TrustError, match=r"begin anew on .*the laptop burnt"):
            bringing.names().chain(PROJECT)
        lost.unlink()
        lost.with_suffix(".pub").unlink()
        ring.publish("power", "2.0")
        update(identity, projects={PROJECT: user})
        with pytest.raises(ChainChanged):
            bringing.names().chain(PROJECT)
        chain = bringing.names().chain(PROJECT, pinned=False)
        assert chain is not None
        assert chain.root.signed.version == 1

    def test_a_damaged_file_of_pins_is_not_taken_for_empty(self, bringing: Messenger) -> None:
        from cogen.files import config_dir

        (config_dir() / "pins.json").write_text("{")
        with pytest.raises(TrustError, match="cannot be read"):
            bringing.names()
        with pytest.raises(TrustError, match="cannot be read"):
            pins_of("x")

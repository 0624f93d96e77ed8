"""The reader of a project's documents: whatever is sent is either exactly what was signed, or refused in our words."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cogen.trust import TrustError, fingerprint, new_key
from cogen.trust.identities import Identity
from cogen.trust.metadata.keys import IdentityKey, key_of, public_of, signer_of
from cogen.trust.metadata.project import (
    ChainChanged,
    Entry,
    bytes_of,
    new_root,
    new_targets,
    read_root,
    read_targets,
    sign,
    verify,
)

PROJECT = "cogen-plugin-power"
WEIGHTS = {"source": "package://x", "revision": None, "file_digest": "sha256:" + "2" * 64}
ENTRY = Entry(
    "power-1.0-py3-none-any.whl",
    "1" * 64,
    9,
    "1.0",
    ({"id": "power", "spec_digest": "sha256:" + "1" * 64, "weights": WEIGHTS},),
)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("keys")
    for name in "abc":
        new_key(folder / f"{name}.pem")
    return [signer_of(folder / f"{name}.pem") for name in "abc"]


@pytest.fixture(scope="module")
def documents(signers: list[Any]) -> dict[str, bytes]:
    """Two roots, the second with another key, and a list."""
    first, second = signers[:2]
    one = sign(new_root(PROJECT, [first.public_key]), [first])
    two = sign(new_root(PROJECT, [second.public_key], before=one.signed), [first, second])
    targets = sign(new_targets(PROJECT, 3, [ENTRY]), [second])
    return {"one": bytes_of(one), "two": bytes_of(two), "targets": bytes_of(targets)}


def chain(documents: dict[str, bytes], **options: Any) -> Any:
    return verify(PROJECT, [documents["one"], documents["two"]], documents["targets"], **options)


def test_what_was_signed_is_read(documents: dict[str, bytes], signers: list[Any]) -> None:
    found = chain(documents, pinned=documents["one"], seen=3)
    assert found.entry(ENTRY.filename) == ENTRY
    assert found.entry("other") is None
    assert list(found.keys) == [f"sha256:{signers[1].public_key.keyid}"]
    assert set(found.known) == {f"sha256:{one.public_key.keyid}" for one in signers[:2]}
    assert fingerprint(found.keys[next(iter(found.keys))]) == next(iter(found.keys))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(one for key, item in inner for one in _places(item, (*path, key)))]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_place_is_changed(documents: dict[str, bytes], data: st.DataObject) -> None:
    """Anywhere in any of the three: replaced, taken out, or put in."""
    name = data.draw(st.sampled_from(sorted(documents)))
    value = json.loads(documents[name])
    path = data.draw(st.sampled_from([one for one in _places(value) if one]))
    bent = copy.deepcopy(value)
    place = bent
    for step in path[:-1]:
        place = place[step]
    how = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "replace":
        place[path[-1]] = data.draw(_JSON)
    elif how == "remove":
        del place[path[-1]]
    elif isinstance(place, dict):
        place[data.draw(st.text(max_size=8))] = data.draw(_JSON)
    else:
        place.append(data.draw(_JSON))
    _either(documents, {**documents, name: json.dumps(bent).encode()})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["one", "two", "targets"]), junk=st.binary(max_size=200) | _JSON.map(json.dumps))
def test_something_else_is_sent(documents: dict[str, bytes], name: str, junk: bytes | str) -> None:
    _either(documents, {**documents, name: junk.encode() if isinstance(junk, str) else junk})


def _either(documents: dict[str, bytes], sent: dict[str, bytes]) -> None:
    found: Any = None
    try:
        found = chain(sent, pinned=documents["one"])
    except TrustError as error:
        problem = error
    if found is None:
        assert (bool(problem.message), bool(problem.hint)) == (True, True)
        return
    signed = [found.roots[0].signed_bytes, found.roots[1].signed_bytes, found.targets.signed_bytes]
    true = chain(documents)
    assert signed == [true.roots[0].signed_bytes, true.roots[1].signed_bytes, true.targets.signed_bytes]


def test_nesting_and_size(documents: dict[str, bytes]) -> None:
    for junk in (b"[" * 100_000, b'{"a":' * 100_000, b" " * 6_000_000):
        for name in documents:
            with pytest.raises(TrustError):
                chain({**documents, name: junk})


def test_a_threshold_counts(signers: list[Any]) -> None:
    keys = [one.public_key for one in signers]
    root = new_root(PROJECT, keys, threshold=2)
    alone = bytes_of(sign(root, signers))
    targets = new_targets(PROJECT, 1, [ENTRY])
    with pytest.raises(TrustError, match="not signed with its keys"):
        verify(PROJECT, [alone], bytes_of(sign(targets, signers[:1])))
    two = bytes_of(sign(targets, signers[:2]))
    assert verify(PROJECT, [alone], two).entries() == [ENTRY]
    revoked = [f"sha256:{signers[0].public_key.keyid}"]
    with pytest.raises(TrustError, match="was revoked"):
        verify(PROJECT, [alone], two, revoked=revoked)
    three = bytes_of(sign(targets, signers[2:]))
    assert verify(PROJECT, [alone], three, revoked=revoked).entries() == [ENTRY]
    following = new_root(PROJECT, keys[:1], before=root.signed)
    with pytest.raises(ChainChanged):
        verify(PROJECT, [alone, bytes_of(sign(following, signers[:1]))], two)


def test_roots_out_of_turn(documents: dict[str, bytes]) -> None:
    for roots in ([documents["two"]], [documents["one"], documents["one"]], []):
        with pytest.raises(TrustError):
            verify(PROJECT, roots, documents["targets"])


def test_a_document_of_another_project(documents: dict[str, bytes]) -> None:
    for read, name in ((read_root, "one"), (read_targets, "targets")):
        with pytest.raises(TrustError, match=f"is of '{PROJECT}'"):
            read(documents[name], "cogen-plugin-other")  # type: ignore[operator]


def test_keys_and_identities_are_keys_of_tuf(tmp_path: Path) -> None:
    pem = new_key(tmp_path / "k.pem")
    alice = Identity("alice@example.org", "https://issuer.example")
    for public in (pem, alice.text):
        key = key_of(public)
        assert f"sha256:{key.keyid}" == fingerprint(public)
        again = type(key).from_dict(key.keyid, copy.deepcopy(key.to_dict()))
        assert (again, public_of(again)) == (key, public)
    assert isinstance(key_of(alice.text), IdentityKey)
    from securesystemslib.signer import CryptoSigner

    with pytest.raises(TrustError, match="are not used here"):
        public_of(CryptoSigner.generate_ed25519().public_key)

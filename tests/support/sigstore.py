"""A Sigstore of our own over a real socket: Fulcio's and Rekor's interfaces (v2 and v1), a CT log, and their roots.

Certificates, timestamps of the CT log, entries and checkpoints are real ones: Sigstore's own client asks for them and
verifies them, with no part of it replaced. The log is as long as its newest entry.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCT = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_SECRET = "the issuer's, which only its tokens are signed with"
_DER, _SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


def spki(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(_DER, _SPKI)
    return found


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Sigstore:
    """``age``: how many seconds ago its clock stands; ``late``: how much later that of its log does."""

    def __init__(self, url: str, issuer: str = "https://login.example.org") -> None:
        self.url, self.issuer, self.entries, self.age, self.late = url, issuer, 0, 0.0, 0.0
        self.root_key, self.ct_key, self.log_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our sigstore")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self.root = (
            self._builder(self.name, self.root_key.public_key(), days=365, before=86400)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.root_key.public_key()), critical=False)
            .sign(self.root_key, hashes.SHA256())
        )

    def token(self, name: str, seconds: float = 600.0, issuer: str | None = None) -> str:
        """What the issuer gives to who logged in."""
        now = int(time.time())
        output = {"iss": issuer or self.issuer, "sub": name, "aud": "sigstore", "iat": now, "exp": now + seconds}
        return jwt.encode(output, _SECRET, "HS256")

    def config(self) -> str:
        """The trust configuration in JSON."""
        always = {"start": "2020-01-01T00:00:00Z"}

        def log(key: Any) -> dict[str, Any]:
            return {
                "baseUrl": self.url,
                "hashAlgorithm": "SHA2_256",
                "logId": {"keyId": b64(self.id_of(key))},
                "publicKey": {"rawBytes": b64(spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": always},
            }

        service = [{"url": self.url, "majorApiVersion": 1, "validFor": always, "operator": "us"}]
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log_key)],
            "ctlogs": [log(self.ct_key)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "us", "commonName": "our sigstore"},
                    "uri": self.url,
                    "certChain": {"certificates": [{"rawBytes": b64(self.root.public_bytes(_DER))}]},
                    "validFor": always,
                }
            ],
            "timestampAuthorities": [],
        }
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service,
            "oidcUrls": service,
            "rekorTlogUrls": service,
            "tsaUrls": [],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        }
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return json.dumps({"mediaType": kind, "trustedRoot": root, "signingConfig": signing})

    def id_of(self, key: Any) -> bytes:
        return hashlib.sha256(spki(key)).digest()

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=self.age)

    def _builder(self, subject: x509.Name, key: Any, days: float, before: float = 30) -> x509.CertificateBuilder:
        begin = self.now() - datetime.timedelta(seconds=before)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=days))
        )

    def certify(self, request: dict[str, Any], authorization: str) -> dict[str, Any]:
        """Fulcio: a certificate for whoever the token names, with a timestamp of the CT log in it."""
        output = jwt.decode(authorization.removeprefix("Bearer "), _SECRET, ["HS256"], audience="sigstore")
        wanted = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        name: x509.GeneralName = (
            x509.RFC822Name(output["sub"]) if "@" in output["sub"] else x509.UniformResourceIdentifier(output["sub"])
        )
        builder = (
            self._builder(x509.Name([]), wanted.public_key(), days=10 / 1440)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, output["iss"].encode()), critical=False)
        )
        before = builder.sign(self.root_key, hashes.SHA256()).tbs_certificate_bytes
        stamp = self._stamp(before)
        leaf = builder.add_extension(x509.UnrecognizedExtension(_SCT, stamp), critical=False)
        chain = [leaf.sign(self.root_key, hashes.SHA256()), self.root]
        pems = [one.public_bytes(serialization.Encoding.PEM).decode() for one in chain]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}

    def _stamp(self, certificate: bytes) -> bytes:
        """RFC 6962, 3.2 and 3.3: one signed timestamp of a certificate that lacks just this extension."""
        when = int(self.now().timestamp() * 1000)
        entry = hashlib.sha256(spki(self.root_key)).digest() + len(certificate).to_bytes(3, "big") + certificate
        signed = struct.pack("!BBQH", 0, 0, when, 1) + entry + b"\0\0"
        signature = self.ct_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        one = struct.pack("!B32sQHBBH", 0, self.id_of(self.ct_key), when, 0, 4, 3, len(signature)) + signature
        several = struct.pack("!H", len(one)) + one
        whole = struct.pack("!H", len(several)) + several
        length = bytes([len(whole)]) if len(whole) < 128 else bytes([0x81, len(whole)])
        return b"\x04" + length + whole

    def record(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Rekor: an entry, its promise, and the proof that it is the whole of a log of one."""
        spec = proposed["spec"]
        if proposed["kind"] == "dsse":
            envelope = json.loads(spec["proposedContent"]["envelope"])
            payload = base64.b64decode(envelope["payload"])
            (verifier,) = spec["proposedContent"]["verifiers"]
            spec = {
                "envelopeHash": _hash(spec["proposedContent"]["envelope"].encode()),
                "payloadHash": _hash(payload),
                "signatures": [{"signature": one["sig"], "verifier": verifier} for one in envelope["signatures"]],
            }
        body = canonical({"apiVersion": proposed["apiVersion"], "kind": proposed["kind"], "spec": spec})
        self.entries += 1
        id, when = self.id_of(self.log_key), int(self.now().timestamp() + self.late)
        promised = {"body": b64(body), "integratedTime": when, "logID": id.hex(), "logIndex": self.entries}
        leaf = hashlib.sha256(b"\0" + body).digest()
        note = f"our log - 1\n1\n{b64(leaf)}\n"
        signature = self.log_key.sign(note.encode(), ec.ECDSA(hashes.SHA256()))
        proof = {
            "logIndex": 0,
            "treeSize": 1,
            "rootHash": leaf.hex(),
            "hashes": [],
            "checkpoint": f"{note}\n\N{EM DASH} our-log {b64(id[:4] + signature)}\n",
        }
        promise = self.log_key.sign(canonical(promised), ec.ECDSA(hashes.SHA256()))
        verification = {"inclusionProof": proof, "signedEntryTimestamp": b64(promise)}
        return {leaf.hex(): promised | {"verification": verification}}


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


@contextmanager
def running(place: Path) -> Iterator[tuple[Sigstore, Path]]:
    """One that answers, and the file with its configuration."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            output = json.loads(self.rfile.read(int(self.headers["content-length"])))
            try:
                if self.path == "/api/v2/signingCert":
                    answer = ours.certify(output, self.headers["authorization"])
                else:
                    assert self.path == "/api/v1/log/entries"
                    answer = ours.record(output)
            except jwt.PyJWTError as error:
                self._send(401, {"message": str(error)})
            else:
                self._send(201, answer)

        def do_GET(self) -> None:
            assert self.path == "/.well-known/openid-configuration"
            self._send(200, {"authorization_endpoint": f"{ours.url}/auth", "token_endpoint": f"{ours.url}/token"})

        def _send(self, status: int, answer: Any) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ours = Sigstore(f"http://127.0.0.1:{server.server_address[1]}")
    file = place / "sigstore.json"
    file.write_text(ours.config(), encoding="utf-8")
    try:
        yield ours, file
    finally:
        server.shutdown()
        server.server_close()

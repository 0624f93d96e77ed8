"""TLS in front of a service of this machine, with a certificate that only a test believes."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, signed by an authority that is the first file's second certificate."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    moment = datetime.datetime.now(datetime.UTC)

    def build(name: str, of: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")]))
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - datetime.timedelta(days=1))
            .not_valid_after(moment + datetime.timedelta(days=1))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(of.public_key()), False)
        )

    def usage(signs: bool) -> x509.KeyUsage:
        return x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)

    root = build("Test authority", authority).add_extension(x509.BasicConstraints(True, None), True)
    root = root.add_extension(usage(True), True)
    local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    leaf = build("127.0.0.1", key).add_extension(x509.SubjectAlternativeName([local]), False)
    leaf = leaf.add_extension(x509.BasicConstraints(False, None), True).add_extension(usage(False), True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    pem, secret, roots = folder / "server.pem", folder / "server.key", folder / "roots.pem"
    signed = [one.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) for one in (leaf, root)]
    pem.write_bytes(b"".join(signed))
    roots.write_bytes(signed[1])
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


@contextmanager
def in_front_of(url: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """(https URL, file of the authority that signed its certificate) of what answers at ``url`` in the clear."""
    pem, key = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    port = int(url.rpartition(":")[2])
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port)) as behind,
            context.wrap_socket(plain, server_side=True) as client,
        ):
            back = threading.Thread(target=_copy, args=(behind, client), daemon=True)
            back.start()
            _copy(client, behind)
            back.join(30)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}", folder / "roots.pem"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

"""The private CA, the server's certificate and the signing key, stored in files that survive a restart."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SERVER_NAMES = ("localhost", "127.0.0.1", "::1", "graph.microsoft.com", "login.microsoftonline.com")
"""Names in the server's certificate; Microsoft's are for clients whose name resolution is redirected."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of the CA's certificate, the server's chain with its key, and the signing key."""

    ca: Path
    server: Path
    signing: Path


def ensure_files(folder: Path) -> CertificateFiles:
    """The files in a folder; missing ones are created."""
    folder.mkdir(parents=True, exist_ok=True)
    files = CertificateFiles(folder / "ca.pem", folder / "server.pem", folder / "signing.pem")
    if not (files.ca.exists() and files.server.exists()):
        authority = trustme.CA(organization_name="simulator")
        server = authority.issue_cert(*SERVER_NAMES)
        _write(files.server, server.private_key_and_cert_chain_pem.bytes())
        _write(files.ca, authority.cert_pem.bytes())
    if not files.signing.exists():
        _write(files.signing, private_pem(rsa.generate_private_key(65537, 2048)))
    return files


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """A private key as unencrypted PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def client_context(ca: Path | None) -> ssl.SSLContext:
    """A TLS context for clients that trusts the system's CAs and, if given, this CA."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(cafile=str(ca))
    return context


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)

"""The private CA, the server's certificate and the signing key; a restart finds them again."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

NAMES = ("localhost", "127.0.0.1", "::1", "graph.microsoft.com", "login.microsoftonline.com")
"""Names that the server answers to; the real ones are for who redirects them here."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the files lie: the CA's certificate, the server's chain with key, the signing key."""

    ca: Path
    server: Path
    signing: Path


def keep(folder: Path) -> Files:
    """The files in this folder, made where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "ca.pem", folder / "server.pem", folder / "signing.pem")
    if not (files.ca.exists() and files.server.exists()):
        authority = trustme.CA(organization_name="simulator")
        server = authority.issue_cert(*NAMES)
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
    """A TLS context for clients that trust the system's CAs and, if given, this one too."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(cafile=str(ca))
    return context


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)

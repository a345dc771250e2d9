"""The authority's signing keys: published as JWKS, rolled over on demand."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and the name that tokens call it by."""

    kid: str
    private: rsa.RSAPrivateKey
    jwk: dict[str, str]


def new_private_key() -> rsa.RSAPrivateKey:
    """A fresh RSA key of the size that Entra uses."""
    return rsa.generate_private_key(65537, 2048)


def signing_key(private: rsa.RSAPrivateKey) -> SigningKey:
    """A private key with its public half as a JWK."""
    public = private.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kid = urlsafe_b64encode(sha1(der, usedforsecurity=False).digest()).decode().rstrip("=")
    numbers = public.public_numbers()
    jwk = {
        "kty": "RSA",
        "use": "sig",
        "kid": kid,
        "x5t": kid,
        "n": _base64(numbers.n),
        "e": _base64(numbers.e),
    }
    return SigningKey(kid, private, jwk)


class KeyRing:
    """Keys that are published; the newest signs."""

    def __init__(self, private: rsa.RSAPrivateKey | None = None) -> None:
        self._keys = [signing_key(private or new_private_key())]

    @classmethod
    def from_pem(cls, pem: bytes) -> "KeyRing":
        """A ring with a key that was kept."""
        private = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError("the signing key is no RSA key")
        return cls(private)

    @property
    def current(self) -> SigningKey:
        """The key that signs now."""
        return self._keys[-1]

    def find(self, kid: str) -> SigningKey | None:
        """A published key by its name."""
        return next((key for key in self._keys if key.kid == kid), None)

    def roll(self, *, forget_old: bool = False) -> SigningKey:
        """A new key signs from now on; the old ones stay published unless they are forgotten."""
        if forget_old:
            self._keys.clear()
        self._keys.append(signing_key(new_private_key()))
        return self.current

    def jwks(self, issuer: str) -> dict[str, Any]:
        """The key set document, each key with the issuer it is for."""
        return {"keys": [{**key.jwk, "issuer": issuer} for key in self._keys]}


def _base64(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(raw).decode().rstrip("=")

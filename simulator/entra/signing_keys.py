"""The signing keys of the authority: published as JWKS, rolled over on request."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair and its key id (`kid`)."""

    kid: str
    private: rsa.RSAPrivateKey
    jwk: dict[str, str]


def new_private_key() -> rsa.RSAPrivateKey:
    """Generate an RSA key of the size that Entra uses."""
    return rsa.generate_private_key(65537, 2048)


def signing_key(private: rsa.RSAPrivateKey) -> SigningKey:
    """Add key id and public JWK to a private key."""
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
    """The published keys; the newest one signs."""

    def __init__(self, private: rsa.RSAPrivateKey | None = None) -> None:
        self._keys = [signing_key(private or new_private_key())]

    @classmethod
    def from_pem(cls, pem: bytes) -> "KeyRing":
        """Create a ring with a stored key.

        Raises:
            TypeError: the key is no RSA key.
        """
        private = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError("the signing key is no RSA key")
        return cls(private)

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._keys[-1]

    def find(self, kid: str) -> SigningKey | None:
        """Find a published key by its key id."""
        return next((key for key in self._keys if key.kid == kid), None)

    def roll(self, *, forget_old: bool = False) -> SigningKey:
        """Generate a new key, which signs from now on; `forget_old` removes the old keys from the JWKS."""
        if forget_old:
            self._keys.clear()
        self._keys.append(signing_key(new_private_key()))
        return self.current

    def jwks(self, issuer: str) -> dict[str, Any]:
        """The key set document, with the issuer in each key."""
        return {"keys": [{**key.jwk, "issuer": issuer} for key in self._keys]}


def _base64(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(raw).decode().rstrip("=")

"""A sign-in authority that has only its metadata and its keys, and the tokens that it would sign."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from services.tracking.domain.visibility import User

from .worlds import NOW

URL = "https://authority.example"
AUDIENCE = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02"


def new_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


KEY = new_key()


@dataclass
class Authority:
    """Publishes `keys`.

    Attributes:
        requests: counts the requests by the last part of their path.
        unavailable: every request fails.
    """

    keys: dict[str, RSAPrivateKey] = field(default_factory=lambda: {"key-1": KEY})
    requests: Counter[str] = field(default_factory=Counter)
    unavailable: bool = False

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        _, tenant, *rest = request.url.path.split("/")
        self.requests[rest[-1]] += 1
        if self.unavailable:
            raise httpx2.ConnectError("unavailable")
        if rest[-1] == "openid-configuration":
            return httpx2.Response(
                200,
                json={"issuer": f"{URL}/{tenant}/v2.0", "jwks_uri": f"{URL}/{tenant}/discovery/v2.0/keys"},
            )
        return httpx2.Response(200, json={"keys": [published(kid, key) for kid, key in self.keys.items()]})

    def token(
        self, user: User, *, kid: str = "key-1", key: Any = None, alg: str = "RS256", **changes: Any
    ) -> str:
        """A user's token; a change to None removes the claim."""
        now = int(NOW.timestamp())
        claims: dict[str, Any] = {
            "aud": AUDIENCE,
            "iss": f"{URL}/{user.tenant}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + int(timedelta(hours=1).total_seconds()),
            "tid": user.tenant,
            "oid": user.oid,
            "name": user.name,
            "scp": "openid Timeline.ReadWrite",
            "ver": "2.0",
            "groups": sorted(user.groups),
            "roles": ["AutoCapture.Admin"] if user.admin else [],
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(claims, self.keys[kid] if key is None else key, alg, headers={"kid": kid})

    def bearer(self, user: User, **changes: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, **changes)}"}


def published(kid: str, key: RSAPrivateKey) -> dict[str, Any]:
    """A key as Entra publishes it, with members that we do not use."""
    jwk: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    return jwk | {"kid": kid, "use": "sig", "x5t": "?", "cloud_instance_name": "example"}


def pem(key: RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

"""Authenticates users by a v2 access token of their tenant's authority, or raises UnauthorizedError.

A valid token is signed with RS256 by a key of the tenant's metadata, for our API, by the authority of
an onboarded tenant, has not expired, and has the scope, for a person. The user is `tid` and `oid`; an
address or a name never identifies a user.
"""

import asyncio
import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt

from shared.clock import UNIX_EPOCH, Clock, to_micros
from shared.errors import RetryableError

from .domain.visibility import User
from .metrics import REFUSED_TOKENS

log = logging.getLogger(__name__)

ALGORITHM = "RS256"
SCOPE = "Timeline.ReadWrite"
ADMIN_ROLE = "AutoCapture.Admin"
REQUIRED_CLAIMS = ("aud", "iss", "exp", "nbf", "tid", "oid", "ver")

CLOCK_SKEW = timedelta(seconds=60)
"""The authority's clock may differ from ours by this time."""
KEYS_LIFETIME = timedelta(hours=24)
"""Keys are fetched again after this time; Entra's advice."""
FETCH_COOL_DOWN = timedelta(seconds=30)
"""Keys are fetched once in this time, however many tokens with unknown keys arrive."""
FAILED_FETCH_COOL_DOWN = timedelta(seconds=2)
"""The same after the authority did not answer."""
AUTHORITY_TIMEOUT = timedelta(seconds=5)
MAX_TOKEN_CHARACTERS = 16_384
"""Entra's tokens stay below 8,000 characters with 200 groups."""


class UnauthorizedError(Exception):
    """There is no valid token.

    Attributes:
        reason: what is wrong with the token, without any part of it; None when there is no token.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason or "no token")
        self.reason = reason

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate`."""
        if self.reason is None:
            return "Bearer"
        return f'Bearer error="invalid_token", error_description="{self.reason}"'


class AuthorityKeys:
    """The public keys of each tenant, from the authority's metadata.

    Args:
        authority: its address without the tenant: `https://login.microsoftonline.com`.
        clock: the server's clock.
        ca_file: PEM of the CA that the authority is trusted by; None: the system's.
        transport: replaces the network in tests.
    """

    def __init__(
        self,
        authority: str,
        clock: Clock,
        ca_file: Path | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._authority = authority.rstrip("/")
        self._clock = clock
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        self._http = httpx2.AsyncClient(
            timeout=AUTHORITY_TIMEOUT.total_seconds(), transport=transport, verify=verify
        )
        self._tenants: dict[str, _TenantKeys] = {}

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def issuer(self, tenant: str) -> str:
        """The issuer of a tenant's v2 tokens."""
        return f"{self._authority}/{tenant}/v2.0"

    async def find_key(self, tenant: str, kid: str) -> jwt.PyJWK | None:
        """A key of a tenant; an unknown one is fetched first. None when the authority publishes no such key.

        Raises:
            RetryableError: no keys are known and the authority does not answer.
        """
        keys = self._tenants.setdefault(tenant, _TenantKeys())
        async with keys.fetch_lock:
            now = self._clock()
            if now >= keys.fetch_after and (kid not in keys.by_kid or now >= keys.stale_at):
                await self._fetch(tenant, keys, now)
        if not keys.by_kid:
            raise RetryableError("the authority does not return its keys")
        return keys.by_kid.get(kid)

    async def _fetch(self, tenant: str, keys: "_TenantKeys", now: datetime) -> None:
        try:
            metadata = (
                (await self._http.get(f"{self.issuer(tenant)}/.well-known/openid-configuration"))
                .raise_for_status()
                .json()
            )
            published = (await self._http.get(metadata["jwks_uri"])).raise_for_status().json()["keys"]
            keys.by_kid = {
                entry["kid"]: jwt.PyJWK(entry, ALGORITHM)
                for entry in published
                if entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig"
            }
        except (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            ValueError,
            KeyError,
            TypeError,
            jwt.PyJWTError,
        ) as error:
            log.warning(
                "authority keys unavailable, retrying with a later request",
                extra={"tenant": tenant, "error": type(error).__name__},
            )
            keys.fetch_after = now + FAILED_FETCH_COOL_DOWN
        else:
            keys.stale_at, keys.fetch_after = now + KEYS_LIFETIME, now + FETCH_COOL_DOWN


class _TenantKeys:
    def __init__(self) -> None:
        self.by_kid: dict[str, jwt.PyJWK] = {}
        self.stale_at = self.fetch_after = UNIX_EPOCH
        self.fetch_lock = asyncio.Lock()


class SignIn:
    """Authenticates a user from an `Authorization` header.

    Args:
        keys: the authority's keys.
        audience: client id of our API.
        tenants: the onboarded ones; tokens of other tenants are refused unread.
        clock: the server's clock.
    """

    def __init__(self, keys: AuthorityKeys, audience: str, tenants: frozenset[str], clock: Clock) -> None:
        self._keys = keys
        self._audience = audience
        self._tenants = tenants
        self._clock = clock

    async def authenticate(self, authorization: str | None) -> User:
        """The user who sends this header.

        Raises:
            UnauthorizedError: there is no valid token.
            RetryableError: the token cannot be checked now.
        """
        try:
            return _to_user(await self._verified_claims(_bearer_token(authorization)))
        except UnauthorizedError:
            REFUSED_TOKENS.inc()
            raise

    async def _verified_claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            tenant = jwt.decode(token, options={"verify_signature": False}).get("tid")
        except jwt.PyJWTError:
            raise UnauthorizedError("this is no token") from None
        if header.get("alg") != ALGORITHM:
            raise UnauthorizedError(f"the token is not signed with {ALGORITHM}")
        if not isinstance(tenant, str) or tenant not in self._tenants:
            raise UnauthorizedError("the tenant is not onboarded")
        kid = header.get("kid")
        key = await self._keys.find_key(tenant, kid) if isinstance(kid, str) else None
        if key is None:
            raise UnauthorizedError("the token is signed with a key that the authority does not publish")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._keys.issuer(tenant),
                options={
                    "require": list(REQUIRED_CLAIMS),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise UnauthorizedError(JWT_ERROR_REASONS.get(type(error), "the token is not valid")) from None
        self._check_validity_period(claims)
        return claims

    def _check_validity_period(self, claims: dict[str, Any]) -> None:
        now, skew = to_micros(self._clock()) / 1e6, CLOCK_SKEW.total_seconds()
        begins, ends = claims["nbf"], claims["exp"]
        if not all(isinstance(time, int | float) for time in (begins, ends)):
            raise UnauthorizedError("the token is not valid")
        if ends + skew <= now:
            raise UnauthorizedError("the token has expired")
        if begins - skew > now:
            raise UnauthorizedError("the token is not yet valid")


JWT_ERROR_REASONS: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "the signature is wrong",
    jwt.InvalidAudienceError: "the token is not for this API",
    jwt.InvalidIssuerError: "the token is not of the tenant's authority",
    jwt.MissingRequiredClaimError: "the token lacks a claim that is needed",
}
"""The reason for each of PyJWT's errors; their own texts may hold values of the token."""


def _bearer_token(authorization: str | None) -> str:
    if not authorization:
        raise UnauthorizedError
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthorizedError
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise UnauthorizedError("the token is too long")
    return token.strip()


def _to_user(claims: dict[str, Any]) -> User:
    """The user of verified claims."""
    if claims["ver"] != "2.0":
        raise UnauthorizedError("this is no v2 token")
    scopes = claims.get("scp")
    if claims.get("idtyp") == "app" or not isinstance(scopes, str):
        raise UnauthorizedError("this is an application's token; only people have a timeline")
    if SCOPE not in scopes.split():
        raise UnauthorizedError(f"the token lacks the scope {SCOPE}")
    oid, name = claims["oid"], claims.get("name")
    if not isinstance(oid, str) or not oid or "/" in oid:
        raise UnauthorizedError("the token is not valid")
    distributed = claims.get("_claim_names")
    groups_missing = claims.get("hasgroups") is True or (
        isinstance(distributed, dict) and "groups" in distributed
    )
    return User(
        claims["tid"],
        oid,
        name if isinstance(name, str) else None,
        frozenset() if groups_missing else frozenset(_strings(claims.get("groups"))),
        groups_missing=groups_missing,
        admin=ADMIN_ROLE in _strings(claims.get("roles")),
    )


def _strings(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []

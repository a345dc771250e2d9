"""Who is she: a v2 access token of the tenant's authority, or a 401 that says what is wrong with it.

Signed RS256 by a key of the tenant's metadata, for our API, by the authority of an onboarded tenant,
now, with the scope, for a person. The user is `tid` and `oid`; an address or a name never is.
"""

import asyncio
import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jwt

from shared.clock import EPOCH, Clock, micros
from shared.errors import Transient

from .domain.visibility import User
from .metrics import REFUSED_TOKENS

log = logging.getLogger(__name__)

ALGORITHM = "RS256"
SCOPE = "Timeline.ReadWrite"
ADMIN_ROLE = "AutoCapture.Admin"
REQUIRED = ("aud", "iss", "exp", "nbf", "tid", "oid", "ver")

SKEW = timedelta(seconds=60)
"""How far the authority's clock may be from ours."""
KEYS_LAST = timedelta(hours=24)
"""Keys are asked for again after this; Entra's advice."""
COOL_DOWN = timedelta(seconds=30)
"""However many tokens with unknown keys come, the authority is asked once in this time."""
COOL_DOWN_AWAY = timedelta(seconds=2)
"""The same after it did not answer."""
ANSWER = timedelta(seconds=5)
LARGEST = 16_384
"""Characters of a token; Entra's stay below 8,000 with 200 groups."""


class Unauthorized(Exception):
    """No token that is taken; says what is wrong with it and never what is in it.

    Attributes:
        why: None where there was none at all.
    """

    def __init__(self, why: str | None = None) -> None:
        super().__init__(why or "no token")
        self.why = why

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate`."""
        return f'Bearer error="invalid_token", error_description="{self.why}"' if self.why else "Bearer"


class AuthorityKeys:
    """The public keys of each tenant, as its metadata names them.

    Args:
        authority: before the tenant: `https://login.microsoftonline.com`.
        ca_file: PEM of the CA of its certificate; None: the system's.
        transport: another way there, for tests.
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
        self._http = httpx2.AsyncClient(timeout=ANSWER.total_seconds(), transport=transport, verify=verify)
        self._tenants: dict[str, _TenantKeys] = {}

    async def close(self) -> None:
        """Hangs up."""
        await self._http.aclose()

    def issuer(self, tenant: str) -> str:
        """The issuer of a tenant's v2 tokens."""
        return f"{self._authority}/{tenant}/v2.0"

    async def key(self, tenant: str, kid: str) -> jwt.PyJWK | None:
        """A key of a tenant, asked for anew where it is not known; None where there is none of that name.

        Raises:
            Transient: no keys are known and the authority does not answer.
        """
        keys = self._tenants.setdefault(tenant, _TenantKeys())
        async with keys.asking:
            now = self._clock()
            if now >= keys.ask_after and (kid not in keys.known or now >= keys.stale_at):
                await self._ask(tenant, keys, now)
        if not keys.known:
            raise Transient("the authority does not say its keys")
        return keys.known.get(kid)

    async def _ask(self, tenant: str, keys: "_TenantKeys", now: datetime) -> None:
        try:
            metadata = (
                (await self._http.get(f"{self.issuer(tenant)}/.well-known/openid-configuration"))
                .raise_for_status()
                .json()
            )
            published = (await self._http.get(metadata["jwks_uri"])).raise_for_status().json()["keys"]
            keys.known = {
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
                "the authority does not say its keys", extra={"tenant": tenant, "error": type(error).__name__}
            )
            keys.ask_after = now + COOL_DOWN_AWAY
        else:
            keys.stale_at, keys.ask_after = now + KEYS_LAST, now + COOL_DOWN


class _TenantKeys:
    def __init__(self) -> None:
        self.known: dict[str, jwt.PyJWK] = {}
        self.stale_at = self.ask_after = EPOCH
        self.asking = asyncio.Lock()


class SignIn:
    """Turns an `Authorization` header into a user.

    Args:
        audience: client id of our API.
        tenants: the onboarded ones; nobody else's tokens are looked at.
    """

    def __init__(self, keys: AuthorityKeys, audience: str, tenants: frozenset[str], clock: Clock) -> None:
        self.keys = keys
        self._audience = audience
        self._tenants = tenants
        self._clock = clock

    async def user(self, authorization: str | None) -> User:
        """Who sends this header.

        Raises:
            Unauthorized: the header is none of ours.
            Transient: it cannot be told now.
        """
        try:
            return _user(await self._claims(_bearer(authorization)))
        except Unauthorized:
            REFUSED_TOKENS.inc()
            raise

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            tenant = jwt.decode(token, options={"verify_signature": False}).get("tid")
        except jwt.PyJWTError:
            raise Unauthorized("this is no token") from None
        if header.get("alg") != ALGORITHM:
            raise Unauthorized(f"the token is not signed with {ALGORITHM}")
        if not isinstance(tenant, str) or tenant not in self._tenants:
            raise Unauthorized("the tenant is not onboarded")
        kid = header.get("kid")
        key = await self.keys.key(tenant, kid) if isinstance(kid, str) else None
        if key is None:
            raise Unauthorized("the token is signed with a key that the authority does not publish")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self.keys.issuer(tenant),
                options={
                    "require": list(REQUIRED),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(_WHAT.get(type(error), "the token is not valid")) from None
        self._in_time(claims)
        return claims

    def _in_time(self, claims: dict[str, Any]) -> None:
        now, skew = micros(self._clock()) / 1e6, SKEW.total_seconds()
        begins, ends = claims["nbf"], claims["exp"]
        if not all(isinstance(moment, int | float) for moment in (begins, ends)):
            raise Unauthorized("the token is not valid")
        if ends + skew <= now:
            raise Unauthorized("the token has expired")
        if begins - skew > now:
            raise Unauthorized("the token is not yet valid")


_WHAT: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "the signature is wrong",
    jwt.InvalidAudienceError: "the token is not for this API",
    jwt.InvalidIssuerError: "the token is not of the tenant's authority",
    jwt.MissingRequiredClaimError: "the token lacks a claim that is needed",
}
"""What each of PyJWT's errors is called here; their own texts may hold values."""


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthorized
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized
    if len(token) > LARGEST:
        raise Unauthorized("the token is too long")
    return token.strip()


def _user(claims: dict[str, Any]) -> User:
    """The user of verified claims."""
    if claims["ver"] != "2.0":
        raise Unauthorized("this is no v2 token")
    scopes = claims.get("scp")
    if claims.get("idtyp") == "app" or not isinstance(scopes, str):
        raise Unauthorized("this is an application's token; only people have a timeline")
    if SCOPE not in scopes.split():
        raise Unauthorized(f"the token lacks the scope {SCOPE}")
    oid, name = claims["oid"], claims.get("name")
    if not isinstance(oid, str) or not oid or "/" in oid:
        raise Unauthorized("the token is not valid")
    elsewhere = claims.get("_claim_names")
    too_many = claims.get("hasgroups") is True or (isinstance(elsewhere, dict) and "groups" in elsewhere)
    return User(
        claims["tid"],
        oid,
        name if isinstance(name, str) else None,
        frozenset() if too_many else frozenset(_strings(claims.get("groups"))),
        groups_missing=too_many,
        admin=ADMIN_ROLE in _strings(claims.get("roles")),
    )


def _strings(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []

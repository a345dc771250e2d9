"""Tokens: their claims, their signature, and their verification by Graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, TypeGuard
from uuid import uuid4

import jwt

from simulator.state.ids import object_id
from simulator.state.tenants import App, Tenant, User
from simulator.state.world import Clock

from .signing_keys import KeyRing, new_private_key

GRAPH = "https://graph.microsoft.com"
GRAPH_APP = "00000003-0000-0000-c000-000000000000"

LIFETIME = timedelta(seconds=3599)
"""The default of `expires_in` in Entra's responses."""

CHALLENGEABLE_LIFETIME = timedelta(hours=24)
"""Of a token of a client that can respond to a claims challenge."""

CP1 = "CP1"
"""The client capability to respond to a claims challenge."""

MAX_GROUPS = 200
"""Entra's limit; a token of a user with more groups has the overage marker instead of the groups."""

CLOCK_SKEW = timedelta(minutes=5)
"""A token is accepted this long before its begin, as Microsoft's libraries do."""

MAX_CACHED_TOKENS = 20_000


@dataclass(frozen=True, slots=True)
class AppToken:
    """The claims of an application's token that Graph uses.

    `capabilities` are those that the client has declared.
    """

    tenant: str
    app: str
    roles: frozenset[str]
    capabilities: frozenset[str] = frozenset()
    not_before: int = 0


class Tokens:
    """Signs tokens for the tenants of a world, and verifies the tokens that Graph receives."""

    def __init__(self, base_url: str, keys: KeyRing, clock: Clock) -> None:
        self._base = base_url
        self.keys = keys
        self._clock = clock
        self._unpublished_key = new_private_key()
        self._verified: dict[str, tuple[AppToken, int]] = {}

    def issuer(self, tenant: str) -> str:
        """The issuer of a tenant's v2 tokens."""
        return f"{self._base}/{tenant}/v2.0"

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign a token with these claims by the current key."""
        key = self.keys.current
        return jwt.encode(claims, key.private, "RS256", headers={"kid": key.kid})

    def app_claims(
        self, tenant: Tenant, app: App, requested: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Claims of an application's own token for Graph.

        Args:
            tenant: of the token.
            app: of the token.
            requested: the claims of the access token that the client requests, each with its value.
        """
        requested = requested or {}
        time_claims = self._time_claims()
        own = {}
        if CP1 in _claim_values(requested, "xms_cc"):
            own["xms_cc"] = [CP1]
            time_claims["exp"] = time_claims["iat"] + int(CHALLENGEABLE_LIFETIME.total_seconds())
        for value in _claim_values(requested, "nbf"):
            time_claims["nbf"] = max(time_claims["nbf"], int(value))
        return {
            **time_claims,
            **own,
            "aud": GRAPH,
            "iss": f"{self._base}/{tenant.id}/",
            "appid": app.client_id,
            "app_displayname": app.name,
            "idtyp": "app",
            "oid": object_id(tenant.id, app.client_id),
            "sub": object_id(tenant.id, app.client_id),
            "roles": list(app.roles),
            "tid": tenant.id,
            "uti": uuid4().hex[:22],
            "ver": "1.0",
        }

    def user_claims(self, tenant: Tenant, user: User, api: App, client: str, scope: str) -> dict[str, Any]:
        """Claims of a user's v2 access token for an API."""
        claims = {
            **self._time_claims(),
            "aud": api.client_id,
            "iss": self.issuer(tenant.id),
            "azp": client,
            "azpacr": "0",
            "name": user.name,
            "oid": user.oid,
            "preferred_username": user.upn,
            "scp": scope,
            "sub": object_id(tenant.id, f"{api.client_id}/{user.oid}"),
            "tid": tenant.id,
            "uti": uuid4().hex[:22],
            "ver": "2.0",
        }
        if user.roles:
            claims["roles"] = list(user.roles)
        if user.groups_overage or len(user.groups) > MAX_GROUPS:
            claims["_claim_names"] = {"groups": "src1"}
            where = f"{self._base}/v1.0/users/{user.oid}/getMemberObjects"
            claims["_claim_sources"] = {"src1": {"endpoint": where}}
        elif user.groups:
            claims["groups"] = list(user.groups)
        return claims

    def sign_id_token(self, tenant: Tenant, user: User, client: str, nonce: str | None) -> str:
        """Sign a user's id token for the client of the sign-in."""
        claims = {
            **self._time_claims(),
            "aud": client,
            "iss": self.issuer(tenant.id),
            "name": user.name,
            "oid": user.oid,
            "preferred_username": user.upn,
            "email": user.address,
            "sub": object_id(tenant.id, f"{client}/{user.oid}"),
            "tid": tenant.id,
            "ver": "2.0",
        }
        return self.sign(claims if nonce is None else {**claims, "nonce": nonce})

    def sign_invalid(self, kind: str, claims: dict[str, Any]) -> str:
        """Sign an invalid token, from the claims of a valid one.

        Raises:
            LookupError: the kind is not among `INVALID_TOKEN_KINDS`.
        """
        key = self.keys.current
        now = int(self._clock().timestamp())
        if kind == "bad_signature":
            return jwt.encode(claims, self._unpublished_key, "RS256", headers={"kid": key.kid})
        if kind == "unknown_key":
            return jwt.encode(claims, self._unpublished_key, "RS256", headers={"kid": uuid4().hex})
        if kind == "unsigned":
            return jwt.encode(claims, "", "none", headers={"kid": key.kid})
        if kind == "shared_secret":
            secret = key.jwk["n"] + key.jwk["e"]
            return jwt.encode(claims, secret, "HS256", headers={"kid": key.kid})
        changes: dict[str, dict[str, Any]] = {
            "expired": {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600},
            "not_yet_valid": {"iat": now + 3600, "nbf": now + 3600, "exp": now + 7200},
            "foreign_tenant": {"iss": self.issuer(_OTHER), "tid": _OTHER},
            "foreign_issuer": {"iss": f"https://elsewhere.example/{claims['tid']}/v2.0"},
            "wrong_audience": {"aud": _OTHER},
            "missing_scope": {"scp": None},
            "other_scope": {"scp": "User.Read"},
            "missing_oid": {"oid": None},
            "version_1": {"ver": "1.0", "iss": f"https://sts.windows.net/{claims['tid']}/"},
            "app": {"scp": None, "idtyp": "app", "name": None, "preferred_username": None},
        }
        if kind not in changes:
            raise LookupError(f"unknown kind of token {kind}; the kinds are {', '.join(INVALID_TOKEN_KINDS)}")
        changed = {**claims, **changes[kind]}
        return self.sign({name: value for name, value in changed.items() if value is not None})

    def verify(self, header: str | None) -> AppToken | str:  # noqa: PLR0911 - one return for each problem
        """Verify an application's token in an Authorization header.

        Returns:
            The token, or Graph's error text if it is invalid.
        """
        if not header or not header.lower().startswith("bearer "):
            return "Access token is empty."
        token = header[7:].strip()
        now = int(self._clock().timestamp())
        known = self._verified.get(token)
        if known is not None and known[1] > now:
            return known[0]
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.PyJWTError:
            return "IDX14100: JWT is not well formed, there are no dots (.)."
        key = self.keys.find(str(kid))
        if key is None:
            return "Invalid x509 signing key."
        try:
            options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
            claims = jwt.decode(
                token,
                key.private.public_key(),
                algorithms=["RS256"],
                audience=[GRAPH, GRAPH_APP],
                options=options,  # type: ignore[arg-type]
            )
        except jwt.InvalidAudienceError:
            return "Access token validation failure. Invalid audience."
        except jwt.PyJWTError:
            return "Access token validation failure."
        verified = self._read_claims(claims, now)
        if isinstance(verified, str):
            return verified
        if len(self._verified) >= MAX_CACHED_TOKENS:
            self._verified.clear()
        self._verified[token] = (verified, int(claims["exp"]))
        return verified

    def _read_claims(self, claims: Mapping[str, Any], now: int) -> AppToken | str:  # noqa: PLR0911 - as above
        """The token with these signed claims, or Graph's error text."""
        tenant, app = claims.get("tid"), claims.get("appid")
        begin, end = claims.get("nbf"), claims.get("exp")
        if not _is_time(begin) or not _is_time(end):
            return "Lifetime validation failed. The token has no valid times."
        if end <= now:
            return "Lifetime validation failed, the token is expired."
        if begin > now + CLOCK_SKEW.total_seconds():
            return "Lifetime validation failed. The token is not yet valid."
        if claims.get("iss") != f"{self._base}/{tenant}/":
            return "Access token validation failure. Invalid issuer."
        if not isinstance(tenant, str) or not isinstance(app, str):
            return "The token has no tid or appid."
        roles, capabilities = (claims.get(name, []) for name in ("roles", "xms_cc"))
        if not _are_texts(roles) or not _are_texts(capabilities):
            return "The token contains claims that can not be understood."
        return AppToken(tenant, app, frozenset(roles), frozenset(capabilities), int(begin))

    def clear_cache(self) -> None:
        """Forget all verified tokens; needed after a roll-over of keys."""
        self._verified.clear()

    def _time_claims(self) -> dict[str, int]:
        now: datetime = self._clock()
        begin = int(now.timestamp())
        return {"iat": begin, "nbf": begin, "exp": begin + int(LIFETIME.total_seconds()) + 1}


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and isfinite(value)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, str) for each in values)


def _claim_values(requested: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The values of a claim in a claims request."""
    claim = requested.get(name) or {}
    return tuple(map(str, claim.get("values") or ([claim["value"]] if "value" in claim else ())))


_OTHER = "99999999-9999-4999-8999-999999999999"

INVALID_TOKEN_KINDS = (
    "expired",
    "not_yet_valid",
    "foreign_tenant",
    "foreign_issuer",
    "wrong_audience",
    "missing_scope",
    "other_scope",
    "missing_oid",
    "version_1",
    "app",
    "bad_signature",
    "unknown_key",
    "unsigned",
    "shared_secret",
)
"""Kinds of tokens that an API must reject."""

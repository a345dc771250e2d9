"""Tokens: what stands in them, how they are signed, and what Graph makes of the one it is given."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt

from simulator.state.ids import object_id
from simulator.state.tenants import App, Tenant, User
from simulator.state.world import Clock

from .signing_keys import KeyRing, new_private_key

GRAPH = "https://graph.microsoft.com"
GRAPH_APP = "00000003-0000-0000-c000-000000000000"

LIFETIME = timedelta(seconds=3599)
"""As `expires_in` says in Entra's answers when nothing is configured."""

MOST_GROUPS = 200
"""A token of more groups than this has the overage marker instead of them."""

MOST_CACHED = 20_000


@dataclass(frozen=True, slots=True)
class AppToken:
    """What Graph reads out of an application's token."""

    tenant: str
    app: str
    roles: frozenset[str]


class Tokens:
    """Signs tokens for a world's tenants, and reads those that come to Graph."""

    def __init__(self, base_url: str, keys: KeyRing, clock: Clock) -> None:
        self._base = base_url
        self.keys = keys
        self._clock = clock
        self._foreign = new_private_key()
        self._read: dict[str, tuple[AppToken, int]] = {}

    def issuer(self, tenant: str) -> str:
        """The issuer of a tenant's v2 tokens."""
        return f"{self._base}/{tenant}/v2.0"

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims, signed by the current key."""
        key = self.keys.current
        return jwt.encode(claims, key.private, "RS256", headers={"kid": key.kid})

    def for_app(self, tenant: Tenant, app: App) -> dict[str, Any]:
        """Claims of an application's own token for Graph."""
        return {
            **self._times(),
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

    def for_user(self, tenant: Tenant, user: User, api: App, client: str, scope: str) -> dict[str, Any]:
        """Claims of a user's v2 access token for an API."""
        claims = {
            **self._times(),
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
        if user.groups_overage or len(user.groups) > MOST_GROUPS:
            claims["_claim_names"] = {"groups": "src1"}
            where = f"{self._base}/v1.0/users/{user.oid}/getMemberObjects"
            claims["_claim_sources"] = {"src1": {"endpoint": where}}
        elif user.groups:
            claims["groups"] = list(user.groups)
        return claims

    def identity(self, tenant: Tenant, user: User, client: str, nonce: str | None) -> str:
        """A user's signed id token for the client that signs her in."""
        claims = {
            **self._times(),
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

    def special(self, kind: str, claims: dict[str, Any]) -> str:
        """A token that something is wrong with, made from the claims of a right one.

        Raises LookupError for a kind that is not among `SPECIAL`.
        """
        key = self.keys.current
        now = int(self._clock().timestamp())
        if kind == "bad_signature":
            return jwt.encode(claims, self._foreign, "RS256", headers={"kid": key.kid})
        if kind == "unknown_key":
            return jwt.encode(claims, self._foreign, "RS256", headers={"kid": uuid4().hex})
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
            raise LookupError(f"no token of the kind {kind}; there are {', '.join(SPECIAL)}")
        changed = {**claims, **changes[kind]}
        return self.sign({name: value for name, value in changed.items() if value is not None})

    def read(self, header: str | None) -> AppToken | str:  # noqa: PLR0911 - one a problem
        """The application's token in an Authorization header, or what is wrong with it."""
        if not header or not header.lower().startswith("bearer "):
            return "Access token is empty."
        token = header[7:].strip()
        now = int(self._clock().timestamp())
        known = self._read.get(token)
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
        if claims["exp"] <= now:
            return "Lifetime validation failed, the token is expired."
        read = AppToken(claims["tid"], claims["appid"], frozenset(claims.get("roles", ())))
        if len(self._read) >= MOST_CACHED:
            self._read.clear()
        self._read[token] = (read, claims["exp"])
        return read

    def forget_read(self) -> None:
        """Verify again every token that comes, as after a roll-over of keys."""
        self._read.clear()

    def _times(self) -> dict[str, int]:
        now: datetime = self._clock()
        begin = int(now.timestamp())
        return {"iat": begin, "nbf": begin, "exp": begin + int(LIFETIME.total_seconds()) + 1}


_OTHER = "99999999-9999-4999-8999-999999999999"

SPECIAL = (
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
"""Kinds of tokens that an API must refuse."""

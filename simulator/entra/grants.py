"""Grants of the token endpoint: client credentials, authorization codes, refresh tokens."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

import orjson

from simulator.state.tenants import App, RedirectUri, Tenant, User
from simulator.state.world import World

from . import errors
from .client_authentication import authenticate
from .errors import AuthorityError
from .tokens import GRAPH, GRAPH_APP, LIFETIME, Tokens

CODE_LIFETIME = timedelta(minutes=10)
REFRESH_LIFETIME = timedelta(hours=24)
MAX_CLAIM_TIME = 10**12
"""A later `nbf` in a claims request is none."""
OIDC_SCOPES = ("openid", "profile", "email", "offline_access")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Grant:
    """An authorization of a client by a user, with its code or refresh token not yet redeemed."""

    tenant: str
    user: str
    client: str
    scope: str
    redirect: RedirectUri
    expires: datetime
    challenge: str | None = None
    nonce: str | None = None
    redeemed: bool = False


class Grants:
    """The valid codes and refresh tokens, and the tokens that requests get for them."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens
        self._codes: dict[str, Grant] = {}
        self._refresh_tokens: dict[str, Grant] = {}

    def find_app(self, tenant: Tenant, client: str) -> App:
        """Find a registration in a tenant; AuthorityError if there is none."""
        app = tenant.apps.get(client)
        if app is None:
            raise AuthorityError(errors.APPLICATION, client, tenant.name)
        return app

    def find_redirect(self, app: App, uri: str) -> RedirectUri:
        """Find the registered redirect URI that matches; AuthorityError if there is none.

        As in Entra, the port of a loopback URI is not compared.
        """
        for registered in app.redirects:
            if registered.uri == uri or _same_on_loopback(registered.uri, uri):
                return replace(registered, uri=uri)
        raise AuthorityError(errors.REDIRECT, uri, app.client_id)

    def create_code(
        self,
        tenant: Tenant,
        user: User,
        app: App,
        redirect: RedirectUri,
        scope: str,
        challenge: str | None,
        nonce: str | None,
    ) -> str:
        """Create an authorization code for a signed-in user."""
        self._resolve_scopes(tenant, app, scope)
        code = "0.A" + secrets.token_urlsafe(96)
        expires = self._world.clock() + CODE_LIFETIME
        self._codes[code] = Grant(
            tenant.id, user.oid, app.client_id, scope, redirect, expires, challenge, nonce
        )
        return code

    def find_tenant_id(self, form: Mapping[str, str]) -> str | None:
        """The tenant of the code or refresh token in a request; None for an unknown one."""
        code, refresh_token = form.get("code", ""), form.get("refresh_token", "")
        grant = self._codes.get(code) or self._refresh_tokens.get(refresh_token)
        return grant.tenant if grant else None

    def issue(
        self, tenant: Tenant, form: Mapping[str, str], endpoint: str, origin: str | None
    ) -> dict[str, Any]:
        """The response to a token request; `origin` is the origin of a browser's page.

        Raises:
            AuthorityError: the request is invalid.
        """
        app = self.find_app(tenant, _required(form, "client_id"))
        grant_type = _required(form, "grant_type")
        self._world.counters.tokens[grant_type] += 1
        if grant_type == "client_credentials":
            authenticate(app, form, endpoint)
            return self._app_response(tenant, app, _required(form, "scope"), _requested_claims(form))
        if grant_type == "authorization_code":
            grant = self._redeem_code(tenant, app, form, endpoint, origin)
        elif grant_type == "refresh_token":
            grant = self._redeem_refresh_token(tenant, app, form, endpoint, origin)
        else:
            raise AuthorityError(errors.GRANT_TYPE, grant_type)
        return self._user_response(tenant, app, grant, bool(form.get("client_info")))

    def _app_response(
        self, tenant: Tenant, app: App, scope: str, requested: Mapping[str, Any]
    ) -> dict[str, Any]:
        resource = scope.removesuffix("/.default")
        if resource == scope:
            raise AuthorityError(errors.APP_SCOPE, scope)
        if resource.rstrip("/") not in (GRAPH, GRAPH_APP):
            raise AuthorityError(errors.RESOURCE, resource, tenant.name)
        if tenant.conditional_access:
            raise AuthorityError(errors.CONDITIONAL_ACCESS)
        claims = self._tokens.app_claims(tenant, app, requested)
        seconds = claims["exp"] - claims["iat"] - 1
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self._tokens.sign(claims),
        }

    def _user_response(
        self, tenant: Tenant, app: App, grant: Grant, with_client_info: bool
    ) -> dict[str, Any]:
        user = tenant.users.get(grant.user)
        if user is None:
            raise AuthorityError(errors.NO_USER, grant.user, tenant.name)
        api, scopes = self._resolve_scopes(tenant, app, grant.scope)
        claims = self._tokens.user_claims(tenant, user, api, app.client_id, api.scope)
        seconds = int(LIFETIME.total_seconds())
        response = {
            "token_type": "Bearer",
            "scope": " ".join(scopes),
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self._tokens.sign(claims),
        }
        requested = grant.scope.split()
        if "offline_access" in requested:
            refresh_token = "1.A" + secrets.token_urlsafe(96)
            expires = self._world.clock() + REFRESH_LIFETIME
            self._refresh_tokens[refresh_token] = replace(grant, expires=expires, challenge=None)
            response["refresh_token"] = refresh_token
        if "openid" in requested:
            response["id_token"] = self._tokens.sign_id_token(tenant, user, app.client_id, grant.nonce)
        if with_client_info:
            info = orjson.dumps({"uid": user.oid, "utid": tenant.id})
            response["client_info"] = urlsafe_b64encode(info).decode().rstrip("=")
        return response

    def _resolve_scopes(self, tenant: Tenant, app: App, scope: str) -> tuple[App, list[str]]:
        """The one API that a scope parameter names, and the scopes of it that are granted."""
        requested = [s for s in scope.split() if s not in OIDC_SCOPES]
        if not requested:
            return (app if app.scope else _GRAPH_API), []
        apis = []
        for each in requested:
            resource, _, name = each.rpartition("/")
            key = resource.removeprefix("api://").rstrip("/")
            api = tenant.apps.get(key)
            if api is None or not api.scope:
                raise AuthorityError(errors.RESOURCE, resource or each, tenant.name)
            if name not in (api.scope, ".default"):
                raise AuthorityError(errors.SCOPE, each)
            apis.append((api, f"{resource}/{api.scope}"))
        if len({api.client_id for api, _ in apis}) > 1:
            raise AuthorityError(errors.SCOPE, scope)
        return apis[0][0], [granted for _, granted in apis]

    def _redeem_code(
        self,
        tenant: Tenant,
        app: App,
        form: Mapping[str, str],
        endpoint: str,
        origin: str | None,
    ) -> Grant:
        code = _required(form, "code")
        grant = self._codes.get(code)
        if grant is None or grant.tenant != tenant.id or grant.client != app.client_id:
            raise AuthorityError(errors.CODE_UNKNOWN)
        if grant.redeemed:
            raise AuthorityError(errors.CODE_USED)
        if grant.expires <= self._world.clock():
            raise AuthorityError(errors.CODE_EXPIRED)
        uri = _required(form, "redirect_uri")
        if uri != grant.redirect.uri:
            raise AuthorityError(errors.CODE_REDIRECT, uri)
        _check_client(app, grant, form, endpoint, origin)
        if grant.challenge is not None:
            verifier = _required(form, "code_verifier").encode()
            challenge = urlsafe_b64encode(sha256(verifier).digest()).decode().rstrip("=")
            if not compare_digest(challenge, grant.challenge):
                raise AuthorityError(errors.VERIFIER)
        self._codes[code] = replace(grant, redeemed=True)
        return grant

    def _redeem_refresh_token(
        self,
        tenant: Tenant,
        app: App,
        form: Mapping[str, str],
        endpoint: str,
        origin: str | None,
    ) -> Grant:
        grant = self._refresh_tokens.get(_required(form, "refresh_token"))
        if grant is None or grant.tenant != tenant.id or grant.client != app.client_id:
            raise AuthorityError(errors.CODE_UNKNOWN)
        if grant.expires <= self._world.clock():
            raise AuthorityError(errors.CODE_EXPIRED)
        _check_client(app, grant, form, endpoint, origin)
        return replace(grant, scope=form.get("scope") or grant.scope)


_GRAPH_API = App(GRAPH_APP, "Microsoft Graph", scope="openid profile User.Read")
"""The API of a token request without a scope of an API."""


def _check_client(app: App, grant: Grant, form: Mapping[str, str], endpoint: str, origin: str | None) -> None:
    kind = grant.redirect.kind
    if origin is not None and kind != "spa":
        raise AuthorityError(errors.NOT_SPA, origin)
    if origin is None and kind == "spa":
        raise AuthorityError(errors.SPA_ONLY)
    if kind == "web":
        authenticate(app, form, endpoint)


def _requested_claims(form: Mapping[str, str]) -> Mapping[str, Any]:
    """The claims of the access token in a request's parameter `claims`."""
    try:
        claims = orjson.loads(form.get("claims") or "{}")
        requested: dict[str, Any] = claims.get("access_token") or {}
        parameters = [each for each in requested.values() if each is not None]
        has_lists = all(isinstance(each.get("values", []), list) for each in parameters)
        nbf = (requested.get("nbf") or {}).get("value", 0)
        is_time = 0 <= int(nbf) < MAX_CLAIM_TIME
    except (ValueError, TypeError, AttributeError) as error:
        raise AuthorityError(errors.CLAIMS) from error
    if not has_lists or not is_time:
        raise AuthorityError(errors.CLAIMS)
    return requested


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise AuthorityError(errors.MISSING, name)
    return value


def _same_on_loopback(registered: str, uri: str) -> bool:
    one, other = urlsplit(registered), urlsplit(uri)
    return (
        one.scheme == other.scheme
        and one.hostname == other.hostname
        and (one.hostname or "") in LOOPBACK
        and (one.path or "/") == (other.path or "/")
        and one.query == other.query
    )

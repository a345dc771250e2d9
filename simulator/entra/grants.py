"""What the token endpoint gives: for client credentials, codes and refresh tokens."""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha1, sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

import jwt
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from simulator.state.tenants import App, RedirectUri, Tenant, User
from simulator.state.world import World

from . import errors as errors
from .errors import AuthorityError
from .tokens import GRAPH, GRAPH_APP, LIFETIME, Tokens

CODE_LIFETIME = timedelta(minutes=10)
REFRESH_LIFETIME = timedelta(hours=24)
OIDC = ("openid", "profile", "email", "offline_access")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user allowed a client, until it is redeemed."""

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
    """Codes and refresh tokens that are out, and the tokens that requests get."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens
        self._codes: dict[str, Grant] = {}
        self._refresh: dict[str, Grant] = {}

    def app(self, tenant: Tenant, client: str) -> App:
        """A registration in a tenant, or the error that there is none."""
        app = tenant.apps.get(client)
        if app is None:
            raise AuthorityError(errors.APPLICATION, client, tenant.name)
        return app

    def redirect(self, app: App, uri: str) -> RedirectUri:
        """The registered redirect URI that this one is, or the error that there is none.

        As in Entra, the port does not count on the local host.
        """
        for registered in app.redirects:
            if registered.uri == uri or _same_on_loopback(registered.uri, uri):
                return replace(registered, uri=uri)
        raise AuthorityError(errors.REDIRECT, uri, app.client_id)

    def allow(
        self,
        tenant: Tenant,
        user: User,
        app: App,
        redirect: RedirectUri,
        scope: str,
        challenge: str | None,
        nonce: str | None,
    ) -> str:
        """A fresh code for a user who signed in."""
        self._api(tenant, app, scope)
        code = "0.A" + secrets.token_urlsafe(96)
        expires = self._world.clock() + CODE_LIFETIME
        self._codes[code] = Grant(
            tenant.id, user.oid, app.client_id, scope, redirect, expires, challenge, nonce
        )
        return code

    def tenant_of(self, form: Mapping[str, str]) -> str | None:
        """The tenant of the user whose code or refresh token this is, where the request names none."""
        grant = self._codes.get(form.get("code", "")) or self._refresh.get(form.get("refresh_token", ""))
        return grant.tenant if grant else None

    def token(
        self, tenant: Tenant, form: Mapping[str, str], endpoint: str, origin: str | None
    ) -> dict[str, Any]:
        """The answer to a request for a token; `origin` is that of a browser's page."""
        app = self.app(tenant, _needed(form, "client_id"))
        kind = _needed(form, "grant_type")
        self._world.counters.tokens[kind] += 1
        if kind == "client_credentials":
            self._authenticate(app, form, endpoint)
            return self._for_app(tenant, app, _needed(form, "scope"))
        if kind == "authorization_code":
            grant = self._redeem(tenant, app, form, endpoint, origin)
        elif kind == "refresh_token":
            grant = self._refreshed(tenant, app, form, endpoint, origin)
        else:
            raise AuthorityError(errors.GRANT_TYPE, kind)
        return self._for_user(tenant, app, grant, bool(form.get("client_info")))

    def _for_app(self, tenant: Tenant, app: App, scope: str) -> dict[str, Any]:
        resource = scope.removesuffix("/.default")
        if resource == scope:
            raise AuthorityError(errors.APP_SCOPE, scope)
        if resource.rstrip("/") not in (GRAPH, GRAPH_APP):
            raise AuthorityError(errors.RESOURCE, resource, tenant.name)
        if tenant.conditional_access:
            raise AuthorityError(errors.CONDITIONAL_ACCESS)
        seconds = int(LIFETIME.total_seconds())
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self._tokens.sign(self._tokens.for_app(tenant, app)),
        }

    def _for_user(self, tenant: Tenant, app: App, grant: Grant, wants_client_info: bool) -> dict[str, Any]:
        user = tenant.users.get(grant.user)
        if user is None:
            raise AuthorityError(errors.NO_USER, grant.user, tenant.name)
        api, scopes = self._api(tenant, app, grant.scope)
        claims = self._tokens.for_user(tenant, user, api, app.client_id, api.scope)
        seconds = int(LIFETIME.total_seconds())
        answer = {
            "token_type": "Bearer",
            "scope": " ".join(scopes),
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self._tokens.sign(claims),
        }
        asked = grant.scope.split()
        if "offline_access" in asked:
            refresh = "1.A" + secrets.token_urlsafe(96)
            expires = self._world.clock() + REFRESH_LIFETIME
            self._refresh[refresh] = replace(grant, expires=expires, challenge=None)
            answer["refresh_token"] = refresh
        if "openid" in asked:
            answer["id_token"] = self._tokens.identity(tenant, user, app.client_id, grant.nonce)
        if wants_client_info:
            info = orjson.dumps({"uid": user.oid, "utid": tenant.id})
            answer["client_info"] = urlsafe_b64encode(info).decode().rstrip("=")
        return answer

    def _api(self, tenant: Tenant, app: App, scope: str) -> tuple[App, list[str]]:
        """The one API that a scope asks for, and the scopes of it that are granted."""
        asked = [s for s in scope.split() if s not in OIDC]
        if not asked:
            return (app if app.scope else _NO_API), []
        apis = []
        for each in asked:
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

    def _redeem(
        self,
        tenant: Tenant,
        app: App,
        form: Mapping[str, str],
        endpoint: str,
        origin: str | None,
    ) -> Grant:
        code = _needed(form, "code")
        grant = self._codes.get(code)
        if grant is None or grant.tenant != tenant.id or grant.client != app.client_id:
            raise AuthorityError(errors.CODE_UNKNOWN)
        if grant.redeemed:
            raise AuthorityError(errors.CODE_USED)
        if grant.expires <= self._world.clock():
            raise AuthorityError(errors.CODE_EXPIRED)
        uri = _needed(form, "redirect_uri")
        if uri != grant.redirect.uri:
            raise AuthorityError(errors.CODE_REDIRECT, uri)
        self._check_client(app, grant, form, endpoint, origin)
        if grant.challenge is not None:
            verifier = _needed(form, "code_verifier").encode()
            made = urlsafe_b64encode(sha256(verifier).digest()).decode().rstrip("=")
            if not compare_digest(made, grant.challenge):
                raise AuthorityError(errors.VERIFIER)
        self._codes[code] = replace(grant, redeemed=True)
        return grant

    def _refreshed(
        self,
        tenant: Tenant,
        app: App,
        form: Mapping[str, str],
        endpoint: str,
        origin: str | None,
    ) -> Grant:
        grant = self._refresh.get(_needed(form, "refresh_token"))
        if grant is None or grant.tenant != tenant.id or grant.client != app.client_id:
            raise AuthorityError(errors.CODE_UNKNOWN)
        if grant.expires <= self._world.clock():
            raise AuthorityError(errors.CODE_EXPIRED)
        self._check_client(app, grant, form, endpoint, origin)
        return replace(grant, scope=form.get("scope") or grant.scope)

    def _check_client(
        self, app: App, grant: Grant, form: Mapping[str, str], endpoint: str, origin: str | None
    ) -> None:
        kind = grant.redirect.kind
        if origin is not None and kind != "spa":
            raise AuthorityError(errors.NOT_SPA, origin)
        if origin is None and kind == "spa":
            raise AuthorityError(errors.SPA_ONLY)
        if kind == "web":
            self._authenticate(app, form, endpoint)

    def _authenticate(self, app: App, form: Mapping[str, str], endpoint: str) -> None:
        """The client is who it says: by a secret or by an assertion that its certificate signed."""
        secret, assertion = form.get("client_secret"), form.get("client_assertion")
        if secret is not None:
            if not any(compare_digest(secret.encode(), s.encode()) for s in app.secrets):
                raise AuthorityError(errors.SECRET, app.client_id)
        elif assertion is not None and form.get("client_assertion_type") == ASSERTION_TYPE:
            _check_assertion(app, assertion, endpoint)
        else:
            raise AuthorityError(errors.NO_CREDENTIAL)


_NO_API = App(GRAPH_APP, "Microsoft Graph", scope="openid profile User.Read")


def _needed(form: Mapping[str, str], name: str) -> str:
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


def _check_assertion(app: App, assertion: str, endpoint: str) -> None:
    """Msal signs PS256 with a padded `x5t#S256`, or RS256 with `x5t`; its dates are floats."""
    try:
        header = jwt.get_unverified_header(assertion)
        for pem in app.certificates:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if not _names(header, certificate):
                continue
            public = certificate.public_key()
            if not isinstance(public, RSAPublicKey):
                raise AuthorityError(errors.ASSERTION, "The key is no RSA key.")
            claims = jwt.decode(
                assertion,
                public,
                algorithms=["PS256", "RS256"],
                audience=endpoint,
                issuer=app.client_id,
                leeway=300,
                options={"require": ["exp", "aud", "iss", "sub"]},
            )
            if claims["sub"] != app.client_id:
                raise AuthorityError(errors.ASSERTION, "The subject is not the client.")
            return
    except (jwt.PyJWTError, ValueError) as error:
        raise AuthorityError(errors.ASSERTION, str(error)) from error
    raise AuthorityError(errors.ASSERTION, "The key was not found.")


def _names(header: Mapping[str, Any], certificate: x509.Certificate) -> bool:
    der_sha256 = certificate.fingerprint(hashes.SHA256())
    der_sha1 = sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest()
    return der_sha256 == _raw(header.get("x5t#S256")) or der_sha1 == _raw(header.get("x5t"))


def _raw(text: object) -> bytes:
    value = str(text or "").rstrip("=")
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))

"""The sign-in authority over HTTP: discovery, keys, the sign-in page, the token endpoint."""

import contextlib
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from simulator.state.faults import Subject
from simulator.state.tenants import RedirectUri, Tenant, User
from simulator.state.world import World

from . import errors, sign_in_page
from .errors import AuthorityError
from .grants import Grants
from .tokens import Tokens

COMMON = ("common", "organizations", "consumers")
ANY_TENANT = ("common", "organizations")
"""Path segments without a tenant: the authority uses the tenant of the user."""


class Authority:
    """Routes of the authority for one world."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens
        self._grants = Grants(world, tokens)

    def routes(self) -> list[Route]:
        """The routes, relative to the root."""
        tenant = "/{tenant}"
        return [
            Route("/common/discovery/instance", self.instance_discovery),
            Route(tenant + "/v2.0/.well-known/openid-configuration", self.configuration),
            Route(tenant + "/.well-known/openid-configuration", self.configuration),
            Route(tenant + "/discovery/v2.0/keys", self.keys),
            Route(tenant + "/discovery/keys", self.keys),
            Route(tenant + "/oauth2/v2.0/token", self.token, methods=["POST", "OPTIONS"]),
            Route(tenant + "/oauth2/v2.0/authorize", self.authorize, methods=["GET", "POST"]),
            Route(tenant + "/oauth2/v2.0/logout", self.logout),
        ]

    async def instance_discovery(self, _: Request) -> Response:
        """The hosts of this cloud; msal reads them before it trusts an unknown host."""
        base_url = self._world.base_url
        host = urlsplit(base_url).netloc
        return _json(
            {
                "tenant_discovery_endpoint": f"{base_url}/common/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        )

    async def configuration(self, request: Request) -> Response:
        """A tenant's OpenID configuration."""
        segment = request.path_params["tenant"]
        injected = self._injected_response("discovery", request)
        if injected is not None:
            return injected
        try:
            tenant = segment if segment in COMMON else self._find_tenant(request).id
        except AuthorityError as error:
            return self._error(error, request)
        base = f"{self._world.base_url}/{tenant}"
        issuer_tenant = "{tenantid}" if tenant in COMMON else tenant
        return _json(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "private_key_jwt",
                ],
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "issuer": self._tokens.issuer(issuer_tenant),
                "request_uri_parameter_supported": False,
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
                "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "tid", "ver"],
                "tenant_region_scope": None,
                "cloud_instance_name": urlsplit(base).netloc,
            }
        )

    async def keys(self, request: Request) -> Response:
        """The public keys of the tokens, as JWKS."""
        segment = request.path_params["tenant"]
        issuer = self._tokens.issuer("{tenantid}" if segment in COMMON else segment)
        return _json(self._tokens.keys.jwks(issuer))

    async def token(self, request: Request) -> Response:
        """The token endpoint, including the preflight of a browser."""
        origin = request.headers.get("origin")
        if request.method == "OPTIONS":
            return _with_cors(Response(status_code=204), origin)
        injected = self._injected_response("token", request)
        if injected is not None:
            return _with_cors(injected, origin)
        try:
            form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
            tenant = self._find_tenant(request, self._grants.find_tenant_id(form))
            endpoint = f"{self._world.base_url}/{tenant.id}/oauth2/v2.0/token"
            with self._world.lock:
                token_response = self._grants.issue(tenant, form, endpoint, origin)
        except AuthorityError as error:
            return _with_cors(self._error(error, request), origin)
        return _with_cors(_json(token_response), origin)

    async def authorize(self, request: Request) -> Response:
        """The sign-in: the account picker, or an immediate redirect if the request names the user."""
        parameters = dict(request.query_params)
        if request.method == "POST":
            parameters |= dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            tenants = self._sign_in_tenants(request, parameters.get("client_id", ""))
            user_name = parameters.get("user") or parameters.get("login_hint", "")
            tenant = next((each for each in tenants if each.find_user(user_name)), tenants[0])
            app = self._grants.find_app(tenant, parameters.get("client_id", ""))
            redirect = self._grants.find_redirect(app, parameters.get("redirect_uri", ""))
        except AuthorityError as error:
            return sign_in_page.render(sign_in_page.FAILURE_TITLE, escape(error.text), "", 400)
        try:
            challenge = _pkce_challenge(parameters, redirect)
            user = self._selected_user(tenant, parameters)
            if user is None:
                return sign_in_page.account_picker(tenants, app.name, parameters)
            code = self._grants.create_code(
                tenant,
                user,
                app,
                redirect,
                parameters.get("scope", ""),
                challenge,
                parameters.get("nonce"),
            )
        except AuthorityError as error:
            failure = {"error": error.problem.error, "error_description": error.text}
            return _redirect_back(parameters, redirect, failure)
        return _redirect_back(parameters, redirect, {"code": code, "session_state": user.oid})

    async def logout(self, request: Request) -> Response:
        """Redirect to a registered URI or show a page; the authority stores no sessions."""
        after = request.query_params.get("post_logout_redirect_uri", "")
        for tenant in self._world.tenants.values():
            for app in tenant.apps.values():
                with contextlib.suppress(AuthorityError):
                    return RedirectResponse(self._grants.find_redirect(app, after).uri, 302)
        return sign_in_page.render("You signed out of your account.", "You may close this window.", "")

    def _selected_user(self, tenant: Tenant, parameters: dict[str, str]) -> User | None:
        """The user that signs in, or None if the account picker is needed."""
        if "user" in parameters:
            return tenant.find_user(parameters["user"])
        if parameters.get("prompt") != "none":
            return None
        login_name = parameters.get("login_hint")
        if not login_name:
            raise AuthorityError(errors.LOGIN_REQUIRED)
        user = tenant.find_user(login_name)
        if user is None:
            raise AuthorityError(errors.NO_USER, login_name, tenant.name)
        return user

    def _sign_in_tenants(self, request: Request, client: str) -> list[Tenant]:
        """The tenants whose users may sign in: the one in the path, or all that have the application."""
        if request.path_params["tenant"] not in ANY_TENANT:
            return [self._find_tenant(request)]
        tenants = [tenant for tenant in self._world.tenants.values() if client in tenant.apps]
        if not tenants:
            raise AuthorityError(errors.APPLICATION, client, request.path_params["tenant"])
        return tenants

    def _find_tenant(self, request: Request, user_tenant: str | None = None) -> Tenant:
        segment = request.path_params["tenant"]
        if segment in ANY_TENANT and user_tenant:
            segment = user_tenant
        tenant = self._world.tenants.get(segment.lower())
        if tenant is None:
            tenants = self._world.tenants.values()
            tenant = next((t for t in tenants if t.domain == segment.lower()), None)
        if tenant is None:
            raise AuthorityError(errors.TENANT, segment)
        return tenant

    def _injected_response(self, kind: str, request: Request) -> Response | None:
        """The response of an injected fault, if one matches; without a body it is an error of Entra."""
        try:
            tenant = self._find_tenant(request).id
        except AuthorityError:
            tenant = None
        fault = self._world.faults.next_for(Subject(kind, tenant), self._world.clock())
        if fault is None:
            return None
        if isinstance(fault.body, str) or (fault.body is None and fault.status < 400):
            response = Response(fault.body or "", fault.status)
        elif fault.body is not None:
            response = _json(fault.body, fault.status)
        else:
            response = self._error(AuthorityError(errors.injected(fault)), request)
        for name, value in fault.all_headers().items():
            response.headers[name] = value
        return response

    def _error(self, error: AuthorityError, request: Request) -> Response:
        correlation = request.headers.get("client-request-id")
        body = error.body(self._world.clock(), self._world.base_url, correlation)
        return _json(body, error.problem.status)


def _pkce_challenge(parameters: dict[str, str], redirect: RedirectUri) -> str | None:
    """Check the authorization request, and return its PKCE challenge."""
    response_type = parameters.get("response_type", "")
    if response_type != "code":
        raise AuthorityError(errors.RESPONSE_TYPE, response_type)
    challenge = parameters.get("code_challenge")
    if challenge is None and redirect.kind != "web":
        raise AuthorityError(errors.PKCE_NEEDED)
    if challenge is not None and parameters.get("code_challenge_method") != "S256":
        raise AuthorityError(errors.MISSING, "code_challenge_method=S256")
    return challenge


def _redirect_back(parameters: dict[str, str], redirect: RedirectUri, fields: dict[str, str]) -> Response:
    """Return the fields to the application, in the response mode that it requested."""
    if "state" in parameters:
        fields["state"] = parameters["state"]
    mode = parameters.get("response_mode", "query")
    if mode == "form_post":
        return sign_in_page.form_post(redirect.uri, fields)
    separator = "#" if mode == "fragment" else "&" if urlsplit(redirect.uri).query else "?"
    return RedirectResponse(f"{redirect.uri}{separator}{urlencode(fields)}", 302)


def _json(body: object, status: int = 200) -> Response:
    headers = {"cache-control": "no-store, no-cache", "access-control-allow-origin": "*"}
    return Response(orjson.dumps(body), status, headers, "application/json; charset=utf-8")


def _with_cors(response: Response, origin: str | None) -> Response:
    """Add the CORS headers with which a browser lets a page of this origin read the response."""
    if origin is not None:
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-allow-methods"] = "POST, OPTIONS"
        response.headers["access-control-allow-headers"] = (
            "content-type, client-request-id, x-client-sku, x-client-ver, x-ms-lib-capability"
        )
        response.headers["access-control-max-age"] = "600"
        response.headers["vary"] = "Origin"
    return response

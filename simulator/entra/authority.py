"""The sign-in authority over HTTP: discovery, keys, the sign-in page, the token endpoint."""

import contextlib
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.state.tenants import RedirectUri, Tenant, User
from simulator.state.world import World

from . import errors as errors
from .errors import AuthorityError
from .grants import Grants
from .tokens import Tokens

SUBMIT = "<script>document.forms[0].submit()</script>"
TROUBLE = "Sorry, but we're having trouble signing you in."

COMMON = ("common", "organizations", "consumers")
ANY_TENANT = ("common", "organizations")
"""Where a sign-in names no tenant: the user's own is the one."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<style>
:root{{--back:#f6f6f3;--card:#fff;--text:#1d1f23;--soft:#5b6068;--line:#d9dade;--over:#eef3f0;--mark:#2f5d50}}
@media (prefers-color-scheme:dark){{:root{{--back:#15171a;--card:#1e2125;--text:#eceef1;--soft:#a5abb4;--line:#3a3f46;--over:#2a302f;--mark:#8fd0b9}}}}
*{{box-sizing:border-box}} body{{font:16px/1.5 system-ui,sans-serif;background:var(--back);color:var(--text);margin:0;padding:1rem;overflow-wrap:anywhere}}
main{{max-width:27rem;margin:10vh auto 2rem;background:var(--card);padding:2rem;border:1px solid var(--line);border-radius:14px}}
h1{{font-size:1.4rem;line-height:1.3;margin:0 0 .2rem}} p{{color:var(--soft);margin:.2rem 0 1.2rem}} p:empty{{display:none}}
h2{{font-size:.85rem;font-weight:600;color:var(--soft);margin:1.2rem 0 .3rem}}
button{{display:flex;gap:.8rem;align-items:center;width:100%;text-align:left;padding:.65rem .8rem;margin:.5rem 0 0;border:1px solid var(--line);
border-radius:10px;background:var(--card);color:var(--text);font:inherit;cursor:pointer}} button:hover{{background:var(--over)}}
button:focus-visible{{outline:3px solid var(--mark);outline-offset:2px}}
i{{flex:none;display:grid;place-items:center;width:2.3rem;height:2.3rem;border-radius:50%;background:var(--over);color:var(--mark);
font:600 .9rem system-ui,sans-serif}}
small{{color:var(--soft);display:block;font-size:.85rem}} footer{{max-width:27rem;margin:0 auto;text-align:center;color:var(--soft);font-size:.85rem}}
</style></head><body><main><h1>{title}</h1><p>{text}</p>{content}</main>
<footer>A simulator's sign-in: no password, nothing but what this machine made up.</footer></body></html>"""


class Authority:
    """Routes of the authority for one world."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens
        self._grants = Grants(world, tokens)

    def routes(self) -> list[Route]:
        """The routes, to be put at the root."""
        tenant = "/{tenant}"
        return [
            Route("/common/discovery/instance", self.instances),
            Route(tenant + "/v2.0/.well-known/openid-configuration", self.configuration),
            Route(tenant + "/.well-known/openid-configuration", self.configuration),
            Route(tenant + "/discovery/v2.0/keys", self.keys),
            Route(tenant + "/discovery/keys", self.keys),
            Route(tenant + "/oauth2/v2.0/token", self.token, methods=["POST", "OPTIONS"]),
            Route(tenant + "/oauth2/v2.0/authorize", self.authorize, methods=["GET", "POST"]),
            Route(tenant + "/oauth2/v2.0/logout", self.logout),
        ]

    async def instances(self, _: Request) -> Response:
        """Which hosts are this cloud's; msal asks before it trusts an unknown one."""
        host = urlsplit(self._world.base_url).netloc
        return _json(
            {
                "tenant_discovery_endpoint": f"{self._world.base_url}/common/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        )

    async def configuration(self, request: Request) -> Response:
        """A tenant's OpenID configuration."""
        named = request.path_params["tenant"]
        try:
            tenant = named if named in COMMON else self._tenant(request).id
        except AuthorityError as error:
            return self._error(error, request)
        base = f"{self._world.base_url}/{tenant}"
        of_issuer = "{tenantid}" if tenant in COMMON else tenant
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
                "issuer": self._tokens.issuer(of_issuer),
                "request_uri_parameter_supported": False,
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
                "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "tid", "ver"],
                "tenant_region_scope": None,
                "cloud_instance_name": urlsplit(base).netloc,
            }
        )

    async def keys(self, request: Request) -> Response:
        """The keys that tokens are signed with."""
        named = request.path_params["tenant"]
        return _json(self._tokens.keys.jwks(self._tokens.issuer("{tenantid}" if named in COMMON else named)))

    async def token(self, request: Request) -> Response:
        """The token endpoint, a browser's preflight included."""
        origin = request.headers.get("origin")
        if request.method == "OPTIONS":
            return _allowing(Response(status_code=204), origin)
        fault = self._world.faults.hit("token", None)
        try:
            if fault is not None:
                raise AuthorityError(errors.THROTTLED if fault.status == 429 else errors.DOWN)
            form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
            tenant = self._tenant(request, self._grants.tenant_of(form))
            endpoint = f"{self._world.base_url}/{tenant.id}/oauth2/v2.0/token"
            with self._world.lock:
                answer = self._grants.token(tenant, form, endpoint, origin)
        except AuthorityError as error:
            refused = _allowing(self._error(error, request), origin)
            if fault is not None and fault.retry_after is not None:
                refused.headers["retry-after"] = str(fault.retry_after)
            return refused
        return _allowing(_json(answer), origin)

    async def authorize(self, request: Request) -> Response:
        """The sign-in: a page of the tenant's users, or at once where the request says who."""
        asked = dict(request.query_params)
        if request.method == "POST":
            asked |= dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            tenants = self._tenants(request, asked.get("client_id", ""))
            tenant = next(
                (each for each in tenants if each.user(asked.get("user") or asked.get("login_hint", ""))),
                tenants[0],
            )
            app = self._grants.app(tenant, asked.get("client_id", ""))
            redirect = self._grants.redirect(app, asked.get("redirect_uri", ""))
        except AuthorityError as error:
            return _page(TROUBLE, escape(error.text), "", 400)
        try:
            challenge = _checked(asked, redirect)
            user = self._who(tenant, asked)
            if user is None:
                return _choose(tenants, app.name, asked)
            code = self._grants.allow(
                tenant,
                user,
                app,
                redirect,
                asked.get("scope", ""),
                challenge,
                asked.get("nonce"),
            )
        except AuthorityError as error:
            answer = {"error": error.problem.error, "error_description": error.text}
            return _back(asked, redirect, answer)
        return _back(asked, redirect, {"code": code, "session_state": user.oid})

    async def logout(self, request: Request) -> Response:
        """Nothing is kept of a sign-in, so there is nothing to end."""
        after = request.query_params.get("post_logout_redirect_uri", "")
        for tenant in self._world.tenants.values():
            for app in tenant.apps.values():
                with contextlib.suppress(AuthorityError):
                    return RedirectResponse(self._grants.redirect(app, after).uri, 302)
        return _page("You signed out of your account.", "You may close this window.", "")

    def _who(self, tenant: Tenant, asked: dict[str, str]) -> User | None:
        """The user that signs in, or None when the page has to ask."""
        if "user" in asked:
            return tenant.user(asked["user"])
        if asked.get("prompt") != "none":
            return None
        hint = asked.get("login_hint")
        if not hint:
            raise AuthorityError(errors.LOGIN_REQUIRED)
        user = tenant.user(hint)
        if user is None:
            raise AuthorityError(errors.NO_USER, hint, tenant.name)
        return user

    def _tenants(self, request: Request, client: str) -> list[Tenant]:
        """Whose users may sign in there: of the tenant that is named, or of all that know the application."""
        if request.path_params["tenant"] not in ANY_TENANT:
            return [self._tenant(request)]
        found = [tenant for tenant in self._world.tenants.values() if client in tenant.apps]
        if not found:
            raise AuthorityError(errors.APPLICATION, client, request.path_params["tenant"])
        return found

    def _tenant(self, request: Request, of_user: str | None = None) -> Tenant:
        named = request.path_params["tenant"]
        if named in ANY_TENANT and of_user:
            named = of_user
        found = self._world.tenants.get(named.lower())
        if found is None:
            tenants = self._world.tenants.values()
            found = next((t for t in tenants if t.domain == named.lower()), None)
        if found is None:
            raise AuthorityError(errors.TENANT, named)
        return found

    def _error(self, error: AuthorityError, request: Request) -> Response:
        correlation = request.headers.get("client-request-id")
        body = error.body(self._world.clock(), self._world.base_url, correlation)
        return _json(body, error.problem.status)


def _choose(tenants: list[Tenant], app: str, asked: dict[str, str]) -> Response:
    """The page of all users; with several tenants, each under its name."""
    kept = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in asked.items()
        if name not in ("user", "prompt")
    )
    hint = asked.get("login_hint", "").lower()
    content = ""
    for tenant in tenants:
        users = sorted(tenant.users.values(), key=lambda u: (u.upn.lower() != hint, u.name))
        content += f"<h2>{escape(tenant.name)}</h2>" if len(tenants) > 1 else ""
        content += "".join(
            f'<button name="user" value="{escape(user.oid)}"><i aria-hidden="true">{escape(_initials(user.name))}</i>'
            f"<span>{escape(user.name)}<small>{escape(user.upn)}</small></span></button>"
            for user in users
        )
    return _page(
        "Pick an account", f"to continue to {escape(app)}", f'<form method="post">{kept}{content}</form>'
    )


def _initials(name: str) -> str:
    words = name.split()
    return "".join(word[0] for word in words[:1] + words[1:][-1:]).upper()


def _checked(asked: dict[str, str], redirect: RedirectUri) -> str | None:
    """The PKCE challenge of a request that is otherwise in order."""
    kind = asked.get("response_type", "")
    if kind != "code":
        raise AuthorityError(errors.RESPONSE_TYPE, kind)
    challenge = asked.get("code_challenge")
    if challenge is None and redirect.kind != "web":
        raise AuthorityError(errors.PKCE_NEEDED)
    if challenge is not None and asked.get("code_challenge_method") != "S256":
        raise AuthorityError(errors.MISSING, "code_challenge_method=S256")
    return challenge


def _back(asked: dict[str, str], redirect: RedirectUri, answer: dict[str, str]) -> Response:
    if "state" in asked:
        answer["state"] = asked["state"]
    mode = asked.get("response_mode", "query")
    if mode == "form_post":
        fields = "".join(
            f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in answer.items()
        )
        form = f'<form method="post" action="{escape(redirect.uri)}">{fields}'
        content = f"{form}<button>Continue</button></form>{SUBMIT}"
        return _page("Signing in", "", content)
    joint = "#" if mode == "fragment" else "&" if urlsplit(redirect.uri).query else "?"
    return RedirectResponse(f"{redirect.uri}{joint}{urlencode(answer)}", 302)


def _page(title: str, text: str, content: str, status: int = 200) -> Response:
    html = PAGE.format(title=escape(title), text=text, content=content)
    headers = {"cache-control": "no-store", "x-frame-options": "DENY"}
    return HTMLResponse(html, status, headers)


def _json(body: object, status: int = 200) -> Response:
    headers = {"cache-control": "no-store, no-cache", "access-control-allow-origin": "*"}
    return Response(orjson.dumps(body), status, headers, "application/json; charset=utf-8")


def _allowing(response: Response, origin: str | None) -> Response:
    """What a browser needs to let a page of that origin read the answer."""
    if origin is not None:
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-allow-methods"] = "POST, OPTIONS"
        response.headers["access-control-allow-headers"] = (
            "content-type, client-request-id, x-client-sku, x-client-ver, x-ms-lib-capability"
        )
        response.headers["access-control-max-age"] = "600"
        response.headers["vary"] = "Origin"
    return response

"""Middleware: only signed-in users reach the API, and every response has its security headers."""

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.tracking.publishing.outbox_loop import Refusal
from services.tracking.signin import SignIn, UnauthorizedError
from shared.errors import RetryableError

from .errors import MAX_BODY_BYTES, body_too_large, not_in_use, problem_for

API_PREFIX = "/api/v1"
SECURITY_HEADERS = {
    "Cache-Control": "no-store",  # no proxy and no browser keeps private data
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response that does not set them itself."""


class SignedInUsersOnly:
    """Refuses requests to the API without a valid token, and large bodies.

    The user is in `request.state.user` afterwards.
    """

    def __init__(self, app: ASGIApp, signin: SignIn) -> None:
        self._app = app
        self._signin = signin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        app = self._app
        if scope["type"] == "http" and scope["path"].startswith(API_PREFIX):
            app = await self._refusal(Request(scope)) or app
        await app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        try:
            request.state.user = await self._signin.authenticate(headers.get("authorization"))
        except (UnauthorizedError, RetryableError) as error:
            return problem_for(request, error)
        if "transfer-encoding" in headers or int(headers.get("content-length", 0)) > MAX_BODY_BYTES:
            return body_too_large()
        return None


class StoreInUse:
    """Answers requests to the API with a 503 and the reason while the store must not be used."""

    def __init__(self, app: ASGIApp, refusal: Refusal) -> None:
        self._app = app
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        app = self._app
        if scope["type"] == "http" and scope["path"].startswith(API_PREFIX):
            app = await self._problem(Request(scope)) or app
        await app(scope, receive, send)

    async def _problem(self, request: Request) -> Response | None:
        try:
            why = await self._refusal()
        except RetryableError as error:
            return problem_for(request, error)
        return not_in_use(why) if why else None


class SecurityHeaders:
    """Adds `SECURITY_HEADERS`; streams pass through unbuffered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)

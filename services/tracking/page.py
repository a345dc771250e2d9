"""The timeline page: its files, what it must know, and what a browser may do with it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import TrackingSettings
from .signin import SCOPE

FOLDER = Path(__file__).parent / "web"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_ALL = {
    "Cache-Control": "no-store",  # what is private is kept by no proxy and no browser
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer that has none of its own of that name."""


@dataclass(frozen=True, slots=True)
class File:
    """One of the page's files."""

    kind: str
    content: bytes

    @property
    def tag(self) -> str:
        """Names this content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:20]}"'


def config(settings: TrackingSettings) -> dict[str, str]:
    """What the page must know to sign somebody in."""
    tenants = sorted(settings.tenants)
    return {
        "authority": (settings.browser_authority_url or settings.authority_url).rstrip("/"),
        "tenant": tenants[0] if len(tenants) == 1 else "organizations",
        "client_id": settings.audience,
        "scope": f"api://{settings.audience}/{SCOPE} openid profile offline_access",
    }


def routes(settings: TrackingSettings) -> APIRouter:
    """The page at `/`, its files, and `/config.json`."""
    knows = config(settings)
    authority = urlsplit(knows["authority"])
    policy = {
        "Content-Security-Policy": "; ".join(
            [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "img-src 'self'",
                f"connect-src 'self' {authority.scheme}://{authority.netloc}",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]
        )
    }
    files = {
        path.name: File(KINDS[path.suffix], path.read_bytes())
        for path in sorted(FOLDER.iterdir())
        if path.suffix in KINDS
    }
    page = APIRouter()

    @page.get("/")
    async def index(request: Request) -> Response:
        return _file(request, files["index.html"], policy)

    @page.get("/config.json")
    async def known() -> dict[str, str]:
        return knows

    @page.get("/page/{name}")
    async def file(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _file(request, files[name], {})

    return page


def _file(request: Request, file: File, headers: dict[str, str]) -> Response:
    """The file, or that it is the one which the browser has."""
    headers = headers | {"Cache-Control": "no-cache", "ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.kind)


class WithHeaders:
    """Adds `FOR_ALL`; streams flow through it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in FOR_ALL.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)

"""The timeline page: its files, its configuration, and its security policy."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from services.tracking.settings import TrackingSettings
from services.tracking.signin import SCOPE

WEB_FOLDER = Path(__file__).parents[1] / "web"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One of the page's files."""

    media_type: str
    content: bytes

    @property
    def etag(self) -> str:
        """Identifies this content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:20]}"'


def page_config(settings: TrackingSettings) -> dict[str, str]:
    """What the page needs to sign a user in."""
    tenants = sorted(settings.tenants)
    return {
        "authority": (settings.browser_authority_url or settings.authority_url).rstrip("/"),
        "tenant": tenants[0] if len(tenants) == 1 else "organizations",
        "client_id": settings.audience,
        "scope": f"api://{settings.audience}/{SCOPE} openid profile offline_access",
    }


def page_routes(settings: TrackingSettings) -> APIRouter:
    """The page at `/`, its files, and `/config.json`."""
    config = page_config(settings)
    authority = urlsplit(config["authority"])
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
        path.name: PageFile(MEDIA_TYPES[path.suffix], path.read_bytes())
        for path in sorted(WEB_FOLDER.iterdir())
        if path.suffix in MEDIA_TYPES
    }
    page = APIRouter()

    @page.get("/")
    async def index(request: Request) -> Response:
        return _file_response(request, files["index.html"], policy)

    @page.get("/config.json")
    async def config_json() -> dict[str, str]:
        return config

    @page.get("/page/{name}")
    async def file(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _file_response(request, files[name], {})

    return page


def _file_response(request: Request, file: PageFile, headers: dict[str, str]) -> Response:
    """The file, or 304 when the browser has it already."""
    headers = headers | {"Cache-Control": "no-cache", "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)

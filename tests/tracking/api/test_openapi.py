"""The OpenAPI document and the routes of the application."""

import re
from collections.abc import Iterator
from typing import Any

from tests.tracking.conftest import World

from .openapi import INTERFACE


def app_routes(routes: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from app_routes(route.original_router.routes, prefix)
        else:
            yield from ((method, prefix + re.sub(r":\w+}", "}", route.path)) for method in route.methods)


async def test_openapi_document_has_exactly_the_routes_of_the_app(world: World) -> None:
    app = world.service.http[0].app
    described = {
        (method.upper(), path) for path, operations in INTERFACE["paths"].items() for method in operations
    }
    assert described == {
        (method, path) for method, path in app_routes(app.routes) if path.startswith("/api/")
    }

"""The OpenAPI document of the timeline API."""

from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.tracking.signin import SCOPE
from shared.problems import MEDIA_TYPE

from .errors import ERROR_DESCRIPTIONS
from .routes import stream_routes, timeline_routes


def openapi_document() -> dict[str, Any]:
    """OpenAPI of all routes under `/api/v1`."""
    uncalled = cast("Any", None)  # no route is called
    app = FastAPI(generate_unique_id_function=lambda route: route.name)
    for router in (timeline_routes(uncalled), stream_routes(uncalled, uncalled)):
        app.include_router(router)
    document = get_openapi(
        title="Timeline",
        version="1",
        description=(
            "E-mails and meetings on CRM records: suggestions for the caller alone, and activities that are "
            "tracked for the team. Anything that a caller may not know of is the same 404. "
            "Errors are problem details (RFC 9457)."
        ),
        routes=app.routes,
    )
    components = document["components"]
    components["securitySchemes"] = {
        "user": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"A user's v2 access token with the scope `{SCOPE}`.",
        }
    }
    _share_error_responses(document)
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    return document | {"security": [{"user": []}]}


def _share_error_responses(document: dict[str, Any]) -> None:
    """Moves each error to the components, once, and drops FastAPI's own description of an invalid request."""
    shared_responses = document["components"]["responses"] = {}
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    for operation in operations:
        for status, response in list(operation["responses"].items()):
            if "HTTPValidationError" in str(response):
                del operation["responses"][status]
            elif int(status) in ERROR_DESCRIPTIONS:
                schema = next(iter(response["content"].values()))
                shared_responses[status] = response | {"content": {MEDIA_TYPE: schema}}
                operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}

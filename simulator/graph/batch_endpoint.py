"""Graph's $batch: up to twenty requests in one, each with its own limits and its own response."""

import asyncio
from typing import Any

import orjson

from . import errors
from .api import Graph
from .errors import GraphError
from .recorder import BATCH
from .requests import GraphRequest, GraphResponse, parse_path, split_url

MAX_PARTS = 20
CONCURRENT_PARTS = 4
"""Parts of an unordered batch that Graph runs concurrently, for any mailboxes."""


class BatchEndpoint:
    """Answers requests to /$batch."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        graph.other_endpoints["$batch",] = self.respond

    async def respond(self, request: GraphRequest) -> GraphResponse:
        """The responses to all parts."""
        self._graph.world.counters.requests["batch"] += 1
        if request.in_batch:
            raise GraphError(errors.BATCH, "A batch cannot be in a batch.")
        if request.method != "POST":
            raise GraphError(errors.NO_METHOD)
        parts = _parse_parts(request.body)
        ordered = any(part.get("dependsOn") for part in parts)
        running = asyncio.Semaphore(1 if ordered else CONCURRENT_PARTS)
        statuses: dict[str, int] = {}

        async def run(part: dict[str, Any]) -> dict[str, Any]:
            async with running:
                dependencies = [statuses.get(each, 424) for each in part.get("dependsOn") or ()]
                if any(status >= 400 for status in dependencies):
                    response = _failed_dependency(part["id"])
                else:
                    response = await self._respond_to_part(request, part)
                statuses[part["id"]] = response["status"]
                return response

        return GraphResponse(200, {"responses": await asyncio.gather(*map(run, parts))}, BATCH)

    async def _respond_to_part(self, request: GraphRequest, part: dict[str, Any]) -> dict[str, Any]:
        path, query = split_url(part["url"])
        names, keys = parse_path(path)
        headers = {k.lower(): str(v) for k, v in (part.get("headers") or {}).items()}
        body = part.get("body")
        response = await self._graph.respond(
            GraphRequest(
                method=part["method"].upper(),
                path=path,
                query=query,
                headers=headers,
                body=b"" if body is None else orjson.dumps(body),
                token=request.token,
                names=names,
                keys=keys,
                in_batch=True,
            )
        )
        result: dict[str, Any] = {"id": part["id"], "status": response.status}
        result["headers"] = {"Cache-Control": "private", **response.headers}
        if response.body is not None:
            result["headers"]["Content-Type"] = "application/json"
            result["body"] = response.body
        return result


def _failed_dependency(part: str) -> dict[str, Any]:
    error = {
        "code": "FailedDependency",
        "message": "Request failed because a request it depends on failed.",
    }
    return {"id": part, "status": 424, "headers": {}, "body": {"error": error}}


def _parse_parts(body: bytes) -> list[dict[str, Any]]:
    try:
        parts = orjson.loads(body)["requests"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise GraphError(errors.BATCH, "The property 'requests' is missing.") from error
    if not isinstance(parts, list) or not 0 < len(parts) <= MAX_PARTS:
        raise GraphError(errors.BATCH, f"There may be 1 to {MAX_PARTS} requests.")
    seen: set[str] = set()
    for part in parts:
        complete = isinstance(part, dict) and all(
            isinstance(part.get(name), str) and part[name] for name in ("id", "method", "url")
        )
        if not complete or part["id"] in seen:
            raise GraphError(errors.BATCH, "Each request has its own id, a method and a url.")
        if any(each not in seen for each in part.get("dependsOn") or ()):
            raise GraphError(errors.BATCH, "A request depends on one that does not stand before.")
        seen.add(part["id"])
    return parts

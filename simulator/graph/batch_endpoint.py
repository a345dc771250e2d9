"""Graph's $batch: up to twenty requests in one, each with its own limits and its own response."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from simulator.state.faults import Subject

from . import errors
from .api import Graph, Route
from .errors import GraphError
from .recorder import BATCH
from .requests import GraphRequest, GraphResponse

MAX_PARTS = 20
CONCURRENT_PARTS = 4
"""Parts of an unordered batch that Graph runs concurrently, for any mailboxes."""

VERSION = "/v1.0/"


@dataclass(frozen=True, slots=True)
class _Part:
    """One request of a batch; `path` is below the version."""

    id: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    depends_on: tuple[str, ...]


class BatchEndpoint:
    """Answers requests to /$batch."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        graph.routes.add("POST", "$batch", Route(self.respond))

    async def respond(self, request: GraphRequest, _: tuple[str, ...]) -> GraphResponse:
        """The responses to all parts."""
        self._graph.world.counters.requests["batch"] += 1
        if request.in_batch:
            raise GraphError(errors.BATCH, "A batch cannot be in a batch.")
        injected = self._graph.injected_response(request, Subject("batch", request.token.tenant))
        if injected is not None:
            return injected
        hosts = {urlsplit(self._graph.world.base_url).netloc, request.headers.get("host", "")}
        parts = _parse_parts(request.json(), hosts)
        running = asyncio.Semaphore(1 if any(part.depends_on for part in parts) else CONCURRENT_PARTS)
        statuses: dict[str, int] = {}

        async def run(part: _Part) -> dict[str, Any]:
            async with running:
                if any(statuses.get(each, 424) >= 400 for each in part.depends_on):
                    response = _failed_dependency(part.id)
                else:
                    response = await self._respond_to_part(request, part)
                statuses[part.id] = response["status"]
                return response

        return GraphResponse(200, {"responses": await asyncio.gather(*map(run, parts))}, BATCH)

    async def _respond_to_part(self, request: GraphRequest, part: _Part) -> dict[str, Any]:
        response = await self._graph.respond(
            GraphRequest(
                method=part.method,
                path=part.path,
                query=part.query,
                headers=part.headers,
                body=part.body,
                token=request.token,
                in_batch=True,
            )
        )
        result: dict[str, Any] = {"id": part.id, "status": response.status}
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


def _parse_parts(body: Any, hosts: set[str]) -> list[_Part]:
    try:
        raw = body["requests"]
    except (KeyError, TypeError) as error:
        raise GraphError(errors.BATCH, "The property 'requests' is missing.") from error
    if not isinstance(raw, list) or not 0 < len(raw) <= MAX_PARTS:
        raise GraphError(errors.BATCH, f"There may be 1 to {MAX_PARTS} requests.")
    parts: list[_Part] = []
    seen: set[str] = set()
    for each in raw:
        part = _parse_part(each, hosts)
        if part.id in seen:
            raise GraphError(errors.BATCH, "Each request has its own id.")
        if any(other not in seen for other in part.depends_on):
            raise GraphError(errors.BATCH, "A request depends on one that does not stand before.")
        seen.add(part.id)
        parts.append(part)
    return parts


def _parse_part(raw: Any, hosts: set[str]) -> _Part:
    complete = isinstance(raw, dict) and all(
        isinstance(raw.get(name), str) and raw[name] for name in ("id", "method", "url")
    )
    if not complete:
        raise GraphError(errors.BATCH, "Each request has an id, a method and a url.")
    depends_on, headers = raw.get("dependsOn") or [], raw.get("headers") or {}
    if not isinstance(depends_on, list) or not all(isinstance(each, str) for each in depends_on):
        raise GraphError(errors.BATCH, "The property 'dependsOn' is a list of ids.")
    if not isinstance(headers, dict):
        raise GraphError(errors.BATCH, "The property 'headers' is an object.")
    headers = {str(name).lower(): str(value) for name, value in headers.items()}
    body = raw.get("body")
    if body is not None and "content-type" not in headers:
        raise GraphError(
            errors.BATCH, f"Write request id : {raw['id']} does not contain Content-Type header or body."
        )
    path, query = _split_url(raw["url"], hosts)
    content = b"" if body is None else orjson.dumps(body)
    return _Part(raw["id"], raw["method"].upper(), path, query, headers, content, tuple(depends_on))


def _split_url(url: str, hosts: set[str]) -> tuple[str, str]:
    """Path below the version, and query, of a relative URL or of an absolute one of this host.

    A relative URL may begin with the version: the JavaScript client only takes off the host.
    """
    path, _, query = url.partition("?")
    if "://" in path:
        host, _, rest = path.partition("://")[2].partition("/")
        path = f"/{rest}"
        if host not in hosts or not path.lower().startswith(VERSION):
            raise GraphError(errors.BATCH, f"The url {url} is not one of this service.")
    if path.lower().startswith(VERSION):
        path = path[len(VERSION) :]
    return path, query.partition("#")[0]

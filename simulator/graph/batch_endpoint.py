"""Graph's $batch: up to twenty requests in one, each limited and answered on its own."""

import asyncio
from typing import Any

import orjson

from . import errors as errors
from .api import Graph
from .errors import GraphError
from .recorder import BATCH
from .requests import Answer, Call, segments, split_url

MOST = 20
AT_ONCE = 4
"""Parts of an unordered batch that Graph runs at a time, whichever mailboxes they are for."""


class Batches:
    """Answers requests to /$batch."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        graph.others["$batch",] = self.answer

    async def answer(self, call: Call) -> Answer:
        """The answers to all parts."""
        self._graph.world.counters.requests["batch"] += 1
        if call.in_batch:
            raise GraphError(errors.BATCH, "A batch cannot be in a batch.")
        if call.method != "POST":
            raise GraphError(errors.NO_METHOD)
        parts = _read(call.body)
        order = any(part.get("dependsOn") for part in parts)
        running = asyncio.Semaphore(1 if order else AT_ONCE)
        statuses: dict[str, int] = {}

        async def run(part: dict[str, Any]) -> dict[str, Any]:
            async with running:
                needed = [statuses.get(each, 424) for each in part.get("dependsOn") or ()]
                if any(status >= 400 for status in needed):
                    answer = _dependency(part["id"])
                else:
                    answer = await self._part(call, part)
                statuses[part["id"]] = answer["status"]
                return answer

        return Answer(200, {"responses": await asyncio.gather(*map(run, parts))}, BATCH)

    async def _part(self, call: Call, part: dict[str, Any]) -> dict[str, Any]:
        path, query = split_url(part["url"])
        names, keys = segments(path)
        headers = {k.lower(): str(v) for k, v in (part.get("headers") or {}).items()}
        body = part.get("body")
        answer = await self._graph.answer(
            Call(
                method=part["method"].upper(),
                path=path,
                query=query,
                headers=headers,
                body=b"" if body is None else orjson.dumps(body),
                token=call.token,
                names=names,
                keys=keys,
                in_batch=True,
            )
        )
        made: dict[str, Any] = {"id": part["id"], "status": answer.status}
        made["headers"] = {"Cache-Control": "private", **answer.headers}
        if answer.body is not None:
            made["headers"]["Content-Type"] = "application/json"
            made["body"] = answer.body
        return made


def _dependency(part: str) -> dict[str, Any]:
    error = {
        "code": "FailedDependency",
        "message": "Request failed because a request it depends on failed.",
    }
    return {"id": part, "status": 424, "headers": {}, "body": {"error": error}}


def _read(body: bytes) -> list[dict[str, Any]]:
    try:
        parts = orjson.loads(body)["requests"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise GraphError(errors.BATCH, "The property 'requests' is missing.") from error
    if not isinstance(parts, list) or not 0 < len(parts) <= MOST:
        raise GraphError(errors.BATCH, f"There may be 1 to {MOST} requests.")
    seen: set[str] = set()
    for part in parts:
        good = isinstance(part, dict) and all(
            isinstance(part.get(name), str) and part[name] for name in ("id", "method", "url")
        )
        if not good or part["id"] in seen:
            raise GraphError(errors.BATCH, "Each request has its own id, a method and a url.")
        if any(each not in seen for each in part.get("dependsOn") or ()):
            raise GraphError(errors.BATCH, "A request depends on one that does not stand before.")
        seen.add(part["id"])
    return parts

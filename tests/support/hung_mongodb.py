"""MongoDB while it hangs, and how long the routes of an application take meanwhile."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
from fastapi import FastAPI
from pymongo import MongoClient

from shared.store_wait import with_bounded_store_wait

LONGEST_ANSWER = 1.0
"""Seconds."""


@contextmanager
def hung_mongodb(mongodb_uri: str) -> Iterator[None]:
    """MongoDB is suspended within the block: it holds its connections, and answers nothing."""
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        pid = client.admin.command("serverStatus")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def routes(app: FastAPI, parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    """Method and path of all routes, with these values of the parameters in them."""
    found = [
        (method.upper(), path.format_map(parameters))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    ]
    assert found
    return found


async def assert_unavailable_at_once(
    app: FastAPI,
    requests: Sequence[tuple[str, str]],
    bodies: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> None:
    """Sends these requests at the same time: each must be answered with a 503 within a second.

    Args:
        app: the application.
        requests: methods and paths.
        bodies: path -> JSON of its request.
        headers: of all requests.
    """
    transport = httpx2.ASGITransport(with_bounded_store_wait(app))

    async def send(client: httpx2.AsyncClient, method: str, path: str) -> float:
        begun = time.monotonic()
        response = await client.request(method, path, json=bodies.get(path), headers=headers)
        assert response.status_code == 503, f"{method} {path}: {response.text}"
        return time.monotonic() - begun

    late = list(requests)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        for _ in range(3):  # a machine under load delays one answer or another, but not each of three
            durations = await asyncio.gather(*(send(client, *request) for request in late))
            late = [each for each, seconds in zip(late, durations, strict=True) if seconds >= LONGEST_ANSWER]
    assert late == []

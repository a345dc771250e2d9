"""The public port while strangers misuse it: refusals are counted, Graph and the health port are served."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from deploy.local.stack import LocalStack
from services.mail_ingest.notifications.graph_notification import MAX_VALUES
from services.mail_ingest.notifications.webhook import MAX_BODY_BYTES
from simulator.server import Running
from tests.mail_ingest.world import Service, World, eventually, opened_world, running_service
from tests.support.raw_http import chunk, head, raw_connection

CONNECTIONS = 50
LIVE_BOUND = 0.5
"""Seconds that `/health/live` may take on a machine under load; alone it takes a few milliseconds."""
PATH = "/graph/notifications"
CHUNKED = head(PATH, transfer_encoding="chunked")


@pytest.fixture(scope="module")
async def small_service(
    stack: LocalStack, kafka: str, mongodb_uri: str, graph: Running, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """mail-ingest with few connections and short deadlines."""
    folder = tmp_path_factory.mktemp("ingest")
    limits = {"MAX_CONNECTIONS": str(CONNECTIONS), "REQUEST_TIMEOUT": "PT1S"}
    async with running_service(stack, graph, folder, **limits) as started:
        yield started


@pytest.fixture
async def world(small_service: Service) -> AsyncIterator[World]:
    async with opened_world(small_service) as opened:
        await opened.enrol(opened.add_user("ann"))
        yield opened


def refused(world: World) -> dict[str, int]:
    """How often the public port has refused, by reason."""
    pattern = r'^http_requests_refused_total\{interface="webhook",reason="(\w+)"\} (\S+)$'
    return {
        reason: int(float(count))
        for reason, count in re.findall(pattern, world.ingest.metrics(), re.MULTILINE)
    }


@contextlib.asynccontextmanager
async def live_meanwhile(world: World) -> AsyncIterator[None]:
    """Fails when `/health/live` takes long at any time within the block."""
    slowest = 0.0

    async def probe() -> None:
        nonlocal slowest
        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
            while True:
                began = time.monotonic()
                assert (await http.get(f"{world.ingest.url}/health/live")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.005)

    probing = asyncio.create_task(probe())
    yield
    probing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probing
    assert slowest < LIVE_BOUND


async def check_graph_is_served(world: World, item: str) -> None:
    """Posts a notification as Graph does; it must be answered as soon as ever."""
    statuses, slowest = await world.post([world.notification(item)])
    assert statuses == [202]
    assert slowest < 1
    assert item in [each for _, each in await world.notified_items()]


EMPTY_VALUES = b'{"value":[' + b"{}," * 600_000 + b"{}]}"
BODIES = {
    "no JSON": (b"{not json", 400, "malformed"),
    "no collection": (b'{"values": []}', 400, "malformed"),
    "no list": (b'{"value": "x"}', 400, "malformed"),
    "no UTF-8": (b'{"value": ["\xff\xfe"]}', 400, "malformed"),
    "empty": (b"", 400, "malformed"),
    "nested": (b"[" * 30_000, 400, "malformed"),
    "nested objects": (b'{"value":' * 30_000, 400, "malformed"),
    "nested endlessly": (b"[" * 1_000_000, 413, "too_many_values"),
    "empty values": (EMPTY_VALUES, 413, "too_many_values"),
    "one value too many": (json.dumps({"value": [1] * (MAX_VALUES + 1)}).encode(), 413, "too_many_values"),
    "large": (b"x" * (MAX_BODY_BYTES + 1), 413, "body_too_large"),
}


@pytest.mark.parametrize("body, status, reason", BODIES.values(), ids=BODIES)
async def test_body_beyond_a_limit_is_refused_and_counted(
    world: World, body: bytes, status: int, reason: str
) -> None:
    before = refused(world).get(reason, 0)
    async with live_meanwhile(world), httpx2.AsyncClient(trust_env=False, verify=False) as http:
        for content in (body, _in_chunks(body)):  # with and without its length
            response = await http.post(f"{world.ingest.webhook_url}{PATH}", content=content)
            assert (response.status_code, response.json()["code"]) == (status, reason)
            assert response.headers["content-type"] == "application/problem+json"
    assert refused(world)[reason] == before + 2
    assert await world.notified_items() == []


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


async def test_unknown_paths_are_problems_without_a_metric(world: World) -> None:
    before = refused(world)
    for path in ("/mailboxes", "/health/live", "/metrics"):
        response = httpx2.get(f"{world.ingest.webhook_url}{path}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert refused(world) == before


async def test_numbers_of_any_size_harm_no_other_value(world: World) -> None:
    digits = b"9" * 400_000
    good = json.dumps(world.notification("good")).encode()
    values = b",".join([digits, b"-1e999999", b'{"subscriptionId":' + digits + b"}", good, b"0." + digits])
    async with live_meanwhile(world), httpx2.AsyncClient(trust_env=False, verify=False) as http:
        response = await http.post(
            f"{world.ingest.webhook_url}{PATH}", content=b'{"value":[' + values + b"]}"
        )
    assert response.status_code == 202
    assert [item for _, item in await world.notified_items()] == ["good"]


async def test_a_thousand_notifications_at_once_are_published(world: World) -> None:
    items = [f"item-{number}" for number in range(MAX_VALUES)]
    async with live_meanwhile(world):
        statuses, _ = await world.post([world.notification(item) for item in items])
    assert statuses == [202]
    assert [item for _, item in await world.notified_items()] == items


async def test_slow_requests_are_refused_while_graph_is_served(world: World) -> None:
    before = refused(world)
    starts = {
        "headers_late": [f"POST {PATH} HTTP/1.1\r\nHost: x\r\nx: ".encode(), *[b"a"] * 30],
        "body_late": [head(PATH, content_length=1000), *[b" "] * 30],
    }

    async def send(parts: list[bytes]) -> tuple[int, str]:
        async with raw_connection(world.ingest.webhook_url) as connection:
            sending = asyncio.create_task(connection.send(*parts, pause=0.1))
            response = await connection.response()
            sending.cancel()
            return response.status, response.code

    async with live_meanwhile(world):
        slow = [asyncio.create_task(send(parts)) for parts in starts.values() for _ in range(10)]
        await check_graph_is_served(world, "meanwhile")
        results = await asyncio.gather(*slow)
    assert results == [(408, reason) for reason in starts for _ in range(10)]
    assert {reason: refused(world)[reason] - before.get(reason, 0) for reason in starts} == dict.fromkeys(
        starts, 10
    )


@pytest.mark.parametrize(
    "opening", [b"", b"POST / HT", head(PATH, content_length=9)], ids=["-", "headers", "body"]
)
async def test_stranger_who_takes_all_connections_keeps_nobody_out(world: World, opening: bytes) -> None:
    before = refused(world).get("connections", 0)
    async with live_meanwhile(world), contextlib.AsyncExitStack() as stack:
        for _ in range(3 * CONNECTIONS):
            connection = await stack.enter_async_context(raw_connection(world.ingest.webhook_url))
            await connection.send(opening)
        await check_graph_is_served(world, "meanwhile")
        await eventually(lambda: refused(world).get("connections", 0) - before >= 2 * CONNECTIONS)


async def test_unfinished_bodies_use_little_memory(world: World) -> None:
    before = memory(world)
    part = b" " * (MAX_BODY_BYTES - 1)
    async with live_meanwhile(world), contextlib.AsyncExitStack() as stack:
        for number in range(100):
            connection = await stack.enter_async_context(raw_connection(world.ingest.webhook_url))
            opening = head(PATH, content_length=MAX_BODY_BYTES) if number % 2 else CHUNKED + chunk(b" ")
            await connection.send(opening + (part if number % 2 else chunk(part)[:-2]))
        used = memory(world) - before
        await check_graph_is_served(world, "meanwhile")
    assert used < 100 * 1024 * 1024
    assert refused(world)["buffered_bytes"]


def memory(world: World) -> float:
    """The memory of the process, in bytes."""
    return world.ingest.metric("process_resident_memory_bytes")


async def test_internal_port_has_the_same_bounds(world: World, tmp_path: Path) -> None:
    response = httpx2.post(f"{world.ingest.url}/mailboxes", content=b" " * 1_100_000)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2 * CONNECTIONS):
            await stack.enter_async_context(raw_connection(world.ingest.url))
        async with raw_connection(world.ingest.url) as connection:
            await connection.send(head("/health/live", method="GET"))
            assert (await connection.response()).status == 200

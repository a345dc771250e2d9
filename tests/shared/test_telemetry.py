"""Health, status, metrics and logs of a service."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from shared.errors import RetryableError
from shared.telemetry import KAFKA_LOG_INTERVAL, Health, RateLimitFilter, log_as_json
from shared.version import VERSION


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()

    @app.get("/{path:path}")
    async def page(path: str) -> str:
        return f"the page {path}"

    health.add_routes(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        yield client


async def test_a_loop_without_progress_is_not_alive(health: Health, client: httpx2.AsyncClient) -> None:
    health.liveness = {"consumes": lambda: 3.0}
    assert (await client.get("/health/live")).status_code == 200
    health.liveness["renews"] = lambda: 61.0
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (503, {"consumes": 3.0, "renews": 61.0})


async def test_readiness_names_what_is_missing(health: Health, client: httpx2.AsyncClient) -> None:
    async def fine() -> None:
        return None

    async def missing() -> str:
        return "reading records, 12 so far"

    health.readiness = {"kafka": fine}
    assert (await client.get("/health/ready")).status_code == 200
    health.readiness["records"] = missing
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"records": "reading records, 12 so far"})


async def test_a_service_that_stops_says_so_and_reads_nothing(
    health: Health, client: httpx2.AsyncClient
) -> None:
    """Its store is closed while its port still answers."""

    async def closed() -> None:
        raise ValueError("closed")

    health.is_stopping = lambda: True
    health.readiness["store"] = health.status["lag"] = closed
    health.gauge_updaters = [closed]
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"service": "stopping"})
    assert (await client.get("/status")).json()["code"] == "stopping"
    assert (await client.get("/metrics")).status_code == 200


async def test_readiness_answers_within_a_second_whatever_hangs(
    health: Health, client: httpx2.AsyncClient
) -> None:
    async def slow() -> None:
        await asyncio.sleep(0.5)

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def unavailable() -> None:
        raise RetryableError("MongoDB does not answer")

    health.readiness = {"a": hangs, "b": slow, "c": unavailable, "d": slow}
    began = time.monotonic()
    answer = await client.get("/health/ready")
    assert time.monotonic() - began < 1
    assert answer.status_code == 503
    assert answer.json() == {"a": "no answer within 0.8 s", "c": "MongoDB does not answer"}


async def test_status_is_503_when_a_count_is_unknown(health: Health, client: httpx2.AsyncClient) -> None:
    async def three() -> int:
        return 3

    async def unknown() -> int:
        raise RetryableError("Kafka does not return the lag")

    health.status = {"activities lag": three}
    assert (await client.get("/status")).json() == {"version": VERSION, "activities lag": 3}
    health.status["matches lag"] = unknown
    answer = await client.get("/status")
    unavailable = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Kafka does not return the lag",
        "code": "unavailable",
    }
    assert (answer.status_code, answer.json()) == (503, unavailable)


async def test_gauges_are_updated_when_metrics_are_read(health: Health, client: httpx2.AsyncClient) -> None:
    calls = []

    async def update() -> None:
        calls.append(1)
        raise RetryableError("Kafka does not return the lag")

    health.gauge_updaters = [update]
    answer = await client.get("/metrics")
    assert (answer.status_code, calls) == (200, [1])
    assert "dead_letters_total" in answer.text
    assert f'auto_capture_build_info{{version="{VERSION}"}} 1.0' in answer.text


async def test_an_app_that_matches_any_path_hides_no_health_route(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/anything")).json() == "the page anything"
    assert (await client.get("/health/live")).json() == {}


def test_repeated_lines_of_aiokafka_are_rate_limited() -> None:
    rate_limit = RateLimitFilter("aiokafka", KAFKA_LOG_INTERVAL)

    def passes(name: str, message: str, node: int, at: float) -> bool:
        record = logging.LogRecord(name, logging.ERROR, "", 0, message, (node,), None)
        record.created = at
        return rate_limit.filter(record)

    assert [passes("aiokafka.conn", "node %d is away", node, node) for node in (100, 101, 109, 111, 112)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert passes("aiokafka.conn", "node %d is back", 1, 102)
    assert all(passes("shared.consumer", "node %d is away", 1, 102) for _ in range(3))


def test_a_log_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.handlers[:], logging.root.level
    try:
        log_as_json("INFO")
        logging.getLogger("shared").info("started", extra={"service": "matcher"})
        line = json.loads(capsys.readouterr().err)
    finally:
        logging.root.handlers, logging.root.level = before
    assert (line["message"], line["service"], line["levelname"]) == ("started", "matcher", "INFO")

"""What a service says of itself."""

import json
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from shared.errors import Transient
from shared.telemetry import SELDOM, Health, Seldom, log_as_json


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()

    @app.get("/{path:path}")
    async def page(path: str) -> str:
        return f"the page {path}"

    health.answer(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        yield client


async def test_a_loop_that_stands_still_is_not_alive(health: Health, client: httpx2.AsyncClient) -> None:
    health.alive = {"reads": lambda: 3.0}
    assert (await client.get("/health/live")).status_code == 200
    health.alive["renews"] = lambda: 61.0
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (503, {"reads": 3.0, "renews": 61.0})


async def test_ready_says_what_is_missing(health: Health, client: httpx2.AsyncClient) -> None:
    async def fine() -> None:
        return None

    async def missing() -> str:
        return "reading records, 12 so far"

    health.ready = {"kafka": fine}
    assert (await client.get("/health/ready")).status_code == 200
    health.ready["records"] = missing
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"records": "reading records, 12 so far"})


async def test_status_counts_and_never_says_nothing_for_not_known(
    health: Health, client: httpx2.AsyncClient
) -> None:
    async def three() -> int:
        return 3

    async def unknown() -> int:
        raise Transient("Kafka does not say how much waits")

    health.status = {"activities lag": three}
    assert (await client.get("/status")).json() == {"activities lag": 3}
    health.status["matches lag"] = unknown
    answer = await client.get("/status")
    assert (answer.status_code, answer.json()) == (503, {"unknown": "Kafka does not say how much waits"})


async def test_metrics_are_measured_when_they_are_asked_for(
    health: Health, client: httpx2.AsyncClient
) -> None:
    asked = []

    async def measure() -> None:
        asked.append(1)
        raise Transient("Kafka does not say how much waits")

    health.measures = [measure]
    answer = await client.get("/metrics")
    assert (answer.status_code, asked) == (200, [1])
    assert "dead_letters_total" in answer.text


async def test_an_app_that_answers_any_path_hides_none_of_them(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/anything")).json() == "the page anything"
    assert (await client.get("/health/live")).json() == {}


def test_aiokafka_says_the_same_line_seldom_and_others_are_left_alone() -> None:
    seldom = Seldom("aiokafka", SELDOM)

    def passes(name: str, message: str, node: int, at: float) -> bool:
        record = logging.LogRecord(name, logging.ERROR, "", 0, message, (node,), None)
        record.created = at
        return seldom.filter(record)

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

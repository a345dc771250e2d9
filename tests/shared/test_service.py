"""A service as a process: start, refusal to start, failure, stop and kill."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import httpx2
import pytest

from shared.service import VERSION_HEADER
from shared.settings import KafkaSettings
from shared.version import VERSION

from .kafka_world import KafkaObserver, eventually, process

SLACK = 3
"""Slack of promised deadlines on a busy machine."""
STOP_SECONDS = 10


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


# -- start ----------------------------------------------------------------------------------------


async def test_a_started_service_has_health_status_and_metrics(
    settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities("one", "two")
    async with process(settings, tmp_path / "it") as it, httpx2.AsyncClient(verify=False) as client:
        await eventually(lambda: it.has_logged("service started") and it.processed.total() == 2)
        for path, keys in {
            "/health/live": ["consumes activities", "reaches Kafka"],
            "/health/ready": [],
            "/status": ["version", "activities lag"],
        }.items():
            response = await client.get(it.url + path)
            assert (response.status_code, list(response.json())) == (200, keys)
        metrics = (await client.get(f"{it.url}/metrics")).text
        assert 'consumer_lag_messages{partition="0",service="matcher",topic="activities"} 0.0' in metrics
        assert (await client.get(f"{it.url}/store-wait")).json() == "PT0.6S"
        page = await client.get(f"{it.url}/anything")
        assert (page.json(), page.headers[VERSION_HEADER]) == ("anything", VERSION)


async def test_a_starting_service_waits_for_kafka(settings: KafkaSettings, tmp_path: Path) -> None:
    async with (
        process(settings, tmp_path / "it", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{unused_port()}") as it,
        httpx2.AsyncClient(verify=False) as client,
    ):
        await eventually(lambda: it.has_logged("waiting for Kafka"))
        assert (await client.get(f"{it.url}/health/live")).status_code == 200
        ready = await client.get(f"{it.url}/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"kafka": "starting"})
        assert (await client.get(f"{it.url}/status")).status_code == 503
        starting = await client.get(f"{it.url}/anything")
        assert (starting.status_code, starting.json()["code"]) == (503, "starting")
        assert starting.headers["content-type"] == "application/problem+json"
        assert await it.stop(signal.SIGTERM) == 0


async def test_a_missing_topic_stops_the_start_with_status_2(settings: KafkaSettings, tmp_path: Path) -> None:
    """Otherwise the consumer waits for the topic for ever."""
    elsewhere = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}none-"})
    async with process(elsewhere, tmp_path / "it") as it:
        assert await it.exit_status() == 2
    (sentence,) = [line for line in it.log.read_text().splitlines() if not line.startswith("{")]
    assert sentence.startswith("topics are missing, create them with `python -m shared.provision create`: ")
    assert f"{elsewhere.topic_prefix}activities-dead-letters" in sentence
    assert "mailboxes" not in sentence, "topics of other services are not checked"


async def test_a_bad_setting_stops_the_start_with_status_2(settings: KafkaSettings, tmp_path: Path) -> None:
    async with process(settings, tmp_path / "it", KAFKA_PARTITIONS="none") as it:
        assert await it.exit_status() == 2
    assert it.log.read_text().startswith("bad setting KAFKA_PARTITIONS: ")


async def test_a_taken_port_ends_the_service_with_status_1(settings: KafkaSettings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process(settings, tmp_path / "it", PORT=port) as it:
            assert await it.exit_status() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in it.log.read_text()


# -- stop -----------------------------------------------------------------------------------------


async def test_sigterm_finishes_and_commits_the_batch_in_flight(
    settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities(*(f"item-{number}" for number in range(200)))
    async with process(settings, tmp_path / "first", WORK=1.0, MAX_RECORDS=20) as first:
        await eventually(lambda: first.processed.total() >= 40)
        began = time.monotonic()
        assert await first.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < STOP_SECONDS * SLACK
    assert sum((await observer.committed()).values()) == first.processed.total(), (
        "exactly the processed messages are committed"
    )
    async with process(settings, tmp_path / "second", MAX_RECORDS=20) as second:
        await eventually(lambda: len(first.processed + second.processed) == 200)
    assert (first.processed + second.processed).total() == 200


async def test_sigterm_ends_a_stuck_service_within_ten_seconds(
    settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities("stuck")
    async with (
        process(settings, tmp_path / "it", WORK=3600) as it,
        httpx2.AsyncClient(verify=False) as client,
    ):
        await eventually(lambda: it.has_logged("batch started"))
        async with client.stream("GET", f"{it.url}/stream") as stream:
            assert await anext(stream.aiter_lines()) == "still here"
            began = time.monotonic()
            assert await it.stop(signal.SIGTERM) == 0
            assert time.monotonic() - began < STOP_SECONDS * SLACK
    assert it.has_logged("store closed"), "stores close last"
    assert await observer.committed() == {}


async def test_every_sigterm_from_the_first_log_line_on_ends_the_service_with_status_0(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    async with process(settings, tmp_path / "it") as it:
        await eventually(lambda: it.log_lines)
        while it.send(signal.SIGTERM):  # noqa: ASYNC110  # until it has ended: a process has no event
            await asyncio.sleep(0.001)
        assert await it.exit_status() == 0


async def test_sigterm_interrupts_the_opening_of_a_store(settings: KafkaSettings, tmp_path: Path) -> None:
    async with process(settings, tmp_path / "it", OPEN_SECONDS=3600) as it:
        await eventually(lambda: it.has_logged("store opening"))
        began = time.monotonic()
        assert await it.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < SLACK
    assert not it.has_logged("service started")


# -- fail and die ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end, error",
    [
        ("raises", "RuntimeError: the loop failed"),
        ("returns", "the task loop ended, although nobody stopped it"),
        ("loop", "the task loop was cancelled, although nobody stopped it"),
        ("poll", "the task poll activities was cancelled, although nobody stopped it"),
        ("http", "was cancelled, although nobody stopped it"),
    ],
)
async def test_a_task_that_ends_by_itself_ends_the_service_with_status_1(
    end: str, error: str, settings: KafkaSettings, tmp_path: Path
) -> None:
    async with process(settings, tmp_path / "it", END=end) as it:
        assert await it.exit_status() == 1
    (stopped,) = [line for line in it.log_lines if line["message"] == "service failed, stopping"]
    assert error in stopped["exc_info"]
    assert it.has_logged("store closed")


async def test_a_failing_handler_ends_the_service_with_status_1_uncommitted(
    settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities("one")
    async with process(
        settings, tmp_path / "it", OUTPUT=tmp_path
    ) as it:  # a folder: the handler cannot write
        assert await it.exit_status() == 1
    assert await observer.committed() == {}


async def test_a_killed_service_repeats_at_most_one_batch_and_loses_nothing(
    settings: KafkaSettings, observer: KafkaObserver, tmp_path: Path
) -> None:
    await observer.write_activities(*(f"item-{number}" for number in range(100)))
    async with process(settings, tmp_path / "first", WORK=0.2, MAX_RECORDS=10) as first:
        await eventually(lambda: first.processed.total() >= 30)
        assert await first.stop(signal.SIGKILL) == -signal.SIGKILL
    async with process(settings, tmp_path / "second", WORK=0.01, MAX_RECORDS=10) as second:
        await eventually(lambda: len(first.processed + second.processed) == 100, 30)
        await asyncio.sleep(0.2)
    assert (first.processed + second.processed).total() - 100 <= 10, "at most one batch is repeated"

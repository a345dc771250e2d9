"""A service as a process: how it starts, refuses to start, fails, stops and dies."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import httpx2

from shared.settings import KafkaSettings

from .members import Bus, eventually, process

SLACK = 3
"""A busy machine may take so many times longer than a promise allows."""
OUT_WITHIN = 10


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


# -- start ----------------------------------------------------------------------------------------


async def test_it_tells_of_itself_when_it_has_started(
    settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities("one", "two")
    async with process(settings, tmp_path / "it") as it, httpx2.AsyncClient() as client:
        await eventually(lambda: it.has_said("started") and it.done.total() == 2)
        for path, told in {
            "/health/live": ["reads activities"],
            "/health/ready": [],
            "/status": ["activities lag"],
        }.items():
            response = await client.get(it.url + path)
            assert (response.status_code, list(response.json())) == (200, told)
        metrics = (await client.get(f"{it.url}/metrics")).text
        assert 'consumer_lag_messages{partition="0",service="matcher",topic="activities"} 0.0' in metrics
        assert (await client.get(f"{it.url}/anything")).json() == "anything"


async def test_it_waits_for_kafka_and_says_so_meanwhile(settings: KafkaSettings, tmp_path: Path) -> None:
    async with (
        process(settings, tmp_path / "it", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{unused_port()}") as it,
        httpx2.AsyncClient() as client,
    ):
        await eventually(lambda: it.has_said("waiting for Kafka"))
        assert (await client.get(f"{it.url}/health/live")).status_code == 200
        ready = await client.get(f"{it.url}/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"kafka": "starting"})
        assert (await client.get(f"{it.url}/status")).status_code == 503
        assert (await client.get(f"{it.url}/anything")).status_code == 503
        assert await it.stop(signal.SIGTERM) == 0


async def test_it_refuses_to_start_without_its_topics(settings: KafkaSettings, tmp_path: Path) -> None:
    """A subscriber would wait for ever for a topic that is missing."""
    elsewhere = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}none-"})
    async with process(elsewhere, tmp_path / "it") as it:
        assert await it.ended() == 2
    (sentence,) = [line for line in it.log.read_text().splitlines() if not line.startswith("{")]
    assert sentence.startswith("topics are missing, create them with `python -m shared.provision create`: ")
    assert f"{elsewhere.topic_prefix}activities-dead-letters" in sentence
    assert "mailboxes" not in sentence, "others' topics are none of its business"


async def test_it_refuses_to_start_on_a_bad_setting(settings: KafkaSettings, tmp_path: Path) -> None:
    async with process(settings, tmp_path / "it", KAFKA_PARTITIONS="none") as it:
        assert await it.ended() == 2
    assert it.log.read_text().startswith("bad setting KAFKA_PARTITIONS: ")


async def test_it_ends_with_status_1_where_its_port_is_taken(settings: KafkaSettings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process(settings, tmp_path / "it", PORT=port) as it:
            assert await it.ended() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in it.log.read_text()


# -- stop -----------------------------------------------------------------------------------------


async def test_sigterm_does_and_commits_the_batch_in_flight(
    settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities(*(f"item-{number}" for number in range(200)))
    async with process(settings, tmp_path / "first", WORK=1.0, MAX_RECORDS=20) as first:
        await eventually(lambda: first.done.total() >= 40)
        began = time.monotonic()
        assert await first.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < OUT_WITHIN * SLACK
    assert sum((await bus.committed()).values()) == first.done.total(), (
        "all that is done is committed, and nothing else"
    )
    async with process(settings, tmp_path / "second", MAX_RECORDS=20) as second:
        await eventually(lambda: len(first.done + second.done) == 200)
    assert (first.done + second.done).total() == 200


async def test_sigterm_ends_it_within_ten_seconds_even_if_work_and_streams_never_do(
    settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities("stuck")
    async with process(settings, tmp_path / "it", WORK=3600) as it, httpx2.AsyncClient() as client:
        await eventually(lambda: it.has_said("begun"))
        async with client.stream("GET", f"{it.url}/stream") as stream:
            assert await anext(stream.aiter_lines()) == "still here"
            began = time.monotonic()
            assert await it.stop(signal.SIGTERM) == 0
            assert time.monotonic() - began < OUT_WITHIN * SLACK
    assert it.has_said("closed"), "its stores are closed after all else"
    assert await bus.committed() == {}


async def test_sigterm_is_heard_while_a_store_is_being_opened(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    async with process(settings, tmp_path / "it", OPENING=3600) as it:
        await eventually(lambda: it.has_said("opened"))
        began = time.monotonic()
        assert await it.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < SLACK
    assert not it.has_said("started")


# -- fail and die ---------------------------------------------------------------------------------


async def test_a_loop_that_fails_ends_it_with_status_1(settings: KafkaSettings, tmp_path: Path) -> None:
    async with process(settings, tmp_path / "it", FAILING=0.1) as it:
        assert await it.ended() == 1
    (stopped,) = [line for line in it.said if line["message"] == "stopped by an error"]
    assert "RuntimeError: the loop failed" in stopped["exc_info"]
    assert it.has_said("closed")


async def test_work_that_fails_ends_it_with_status_1_uncommitted(
    settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities("one")
    async with process(settings, tmp_path / "it", BOOK=tmp_path) as it:  # a folder is no book
        assert await it.ended() == 1
    assert await bus.committed() == {}


async def test_a_process_that_is_killed_repeats_its_batch_and_loses_nothing(
    settings: KafkaSettings, bus: Bus, tmp_path: Path
) -> None:
    await bus.put_activities(*(f"item-{number}" for number in range(100)))
    async with process(settings, tmp_path / "first", WORK=0.2, MAX_RECORDS=10) as first:
        await eventually(lambda: first.done.total() >= 30)
        assert await first.stop(signal.SIGKILL) == -signal.SIGKILL
    async with process(settings, tmp_path / "second", WORK=0.01, MAX_RECORDS=10) as second:
        await eventually(lambda: len(first.done + second.done) == 100, 30)
        await asyncio.sleep(0.2)
    assert (first.done + second.done).total() - 100 <= 10, "one batch at most"

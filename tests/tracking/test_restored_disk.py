"""Restores of full size: MongoDB's files are put back beneath a process; tombstones leave Kafka."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.local.stack import LocalStack
from shared.connection import admin_client
from shared.provision import topic_specs
from shared.topics import TRACKED_ACTIVITIES

from .bus import Replica, replicas, settings_from, until
from .copies import age, copy_database, put_back
from .office import KEPT, SINCE, UNTRACKED, Office, an_office, shown


@pytest.fixture
async def office(environment: dict[str, str]) -> AsyncIterator[Office]:
    async with an_office(environment) as office:
        yield office


async def refuses(replica: Replica, word: str) -> bool:
    """Whether a process is not ready, with this word in the reason."""
    code, body = await replica.get("/health/ready")
    return code == 503 and word in body.get("recovery", "")


@pytest.mark.full("restore")
async def test_files_of_mongodb_are_put_back_beneath_a_running_process(
    office: Office, stack: LocalStack, tmp_path: Path
) -> None:
    bus, files = office.bus, stack.folder / "data" / "mongod"
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT, UNTRACKED)
    await asyncio.to_thread(stack.mongod.stop)
    shutil.copytree(files, tmp_path / "copy")
    await asyncio.to_thread(stack.mongod.start)
    async with office.open() as (tracking, desk):
        await office.untrack(tracking, desk, UNTRACKED)
        await office.track(tracking, desk, SINCE)
    async with replicas(bus.environment) as [replica]:
        await replica.until_quiet()
        await asyncio.to_thread(stack.mongod.kill)
        shutil.rmtree(files)
        shutil.copytree(tmp_path / "copy", files)
        await asyncio.to_thread(stack.mongod.start)
        await until(lambda: refuses(replica, "older copy"), 30)
        await until(lambda: is_ready(replica), 60)
        await replica.until_quiet()
        _, status = await replica.get("/status")
        assert status["open restore cases"] == 2
    last = await office.last_states()
    assert (last[UNTRACKED], last[SINCE].lost) == (None, True)
    async with office.open() as (_, desk):
        assert await shown(desk) == {KEPT}


async def is_ready(replica: Replica) -> bool:
    return (await replica.get("/health/ready"))[0] == 200


async def configure(office: Office, **changes: str) -> None:
    """Changes the settings of `tracked-activities`, on top of those that it has to have."""
    settings = settings_from(office.bus.environment)
    [spec, *_] = topic_specs(settings, [TRACKED_ACTIVITIES])
    configs = spec.configs | {name.replace("_", "."): value for name, value in changes.items()}
    async with admin_client(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, configs)])


@pytest.mark.full("restore")
async def test_copy_is_restored_after_its_tombstones_have_left_kafka(office: Office) -> None:
    bus = office.bus
    async with office.open() as (tracking, desk):
        await office.track(tracking, desk, KEPT, UNTRACKED)
        copy = age(copy_database(bus), timedelta(days=15))
        activity = (await office.ids())[UNTRACKED]
        await office.untrack(tracking, desk, UNTRACKED)
        await configure(
            office,
            delete_retention_ms="0",
            segment_ms="100",
            min_cleanable_dirty_ratio="0.01",
            max_compaction_lag_ms="100",
        )

        async def is_compacted() -> bool:
            # Only segments that are closed are compacted, and a tombstone leaves with the second compaction.
            await office.track(tracking, desk, SINCE)
            await office.untrack(tracking, desk, SINCE)
            return activity not in await bus.tracked_states()

        await until(is_compacted, 300, "Kafka keeps the tombstone")
        await configure(office)
    put_back(bus, copy)
    async with office.open() as (_, desk):
        assert await shown(desk) == {KEPT}
    assert (await bus.tracked_states())[activity] is None

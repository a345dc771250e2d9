"""The files of MongoDB are put back beneath a running process."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack

from .bus import Replica, replicas, until
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

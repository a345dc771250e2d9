"""One system for all stories, each with records and colleagues of its own, in Debian's Chromium."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.async_api import Browser, async_playwright
from pymongo import MongoClient

from deploy.local.stack import LocalStack
from deploy.local.system import TENANT, Process, System
from scenarios.upstream import Upstream
from simulator.control.client import Simulator

from .office import Desk, Office

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SitsDown: TypeAlias = Callable[..., Awaitable[Desk]]
Replica: TypeAlias = Callable[..., Awaitable[Process]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skipped by a mark, so that the summary has one line a file and not one a test."""
    for item in items:
        if CHROMIUM is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="chromium is not installed: apt-get install chromium"))


@pytest.fixture(scope="session")
def chromium() -> str:
    assert CHROMIUM
    return CHROMIUM


@pytest.fixture(scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )  # root has no sandbox in a container
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def office(
    chromium: str, stack: LocalStack, kafka: str, mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    folder: Path = tmp_path_factory.mktemp("page")
    with System(
        stack, folder, prefix="page-", env={"KAFKA_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT": "PT3S"}
    ) as system:
        system.start()
        simulator = Simulator(system.simulator, system.ca)
        async with Upstream(kafka, "page-records") as upstream:
            yield Office(system, simulator.tenant(TENANT), upstream)
        simulator.close()


@pytest.fixture
async def replica(office: Office, mongodb_uri: str) -> AsyncIterator[Replica]:
    """`await replica(TENANTS=…)`: one more tracking, a process of its own, until the test ends. Ask for it before `sits_down`: who sits at it leaves first."""
    started: list[Process] = []

    async def replica(**env: str) -> Process:
        started.append(await asyncio.to_thread(office.system.add, "tracking", env))
        return started[-1]

    yield replica
    for process in started:
        await asyncio.to_thread(process.stop)
    if started:  # who is left reads on, before the next test publishes and looks at once
        deal = await office.deal()
        with MongoClient[dict[str, Any]](mongodb_uri) as client:
            for _ in range(600):
                if client["page-tracking"]["records"].find_one(
                    {"_id": f"{office.tenant.id}/opportunity/{deal['id']}"}
                ):
                    break
                await asyncio.sleep(0.1)


@pytest.fixture
async def sits_down(browser: Browser, office: Office) -> AsyncIterator[SitsDown]:
    """`await sits_down("Ann Lee", at=…)`: a browser of her own, not signed in; all that it complained of fails the test."""
    desks: list[Desk] = []

    async def sits_down(
        name: str,
        *,
        at: str | None = None,
        width: int = 1100,
        zone: str = "Europe/Zurich",
        locale: str = "en-GB",
    ) -> Desk:
        context = await browser.new_context(
            viewport={"width": width, "height": 800}, locale=locale, timezone_id=zone, reduced_motion="reduce"
        )
        home = at or office.home
        desk = Desk(context, await context.new_page(), name, home, {home, office.system.for_browsers})
        await desk.sit_down()
        desks.append(desk)
        return desk

    yield sits_down
    for desk in desks:
        await desk.leave()

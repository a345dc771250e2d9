"""One system for all tests of the page, each with records and users of its own, in Debian's Chromium.

The system and the browser have the scope of this package, so they stop when its last test ends.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.async_api import Browser, async_playwright
from pymongo import MongoClient

from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from deploy.local.system import System
from scenarios.upstream import Upstream
from simulator.control.client import Simulator
from tests.support import forks

from .browser import UserBrowser
from .office import TOPIC_PREFIX, TRACKING_DATABASE, Office

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
UNUSED_FEATURES = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess")
"""Each context opens a window, whose address bar loads two pages of its own with these: 0.6 s of CPU.

No test uses an address bar, nor a process that is kept ready for a page of another site.
"""
PLAYWRIGHT_DISABLES = (
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
"""What Playwright disables: Chromium takes the last list, so ours repeats it."""
OpenBrowser: TypeAlias = Callable[..., Awaitable[UserBrowser]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips by a mark, so that the summary has one line for each file and not one for each test."""
    for item in items:
        if CHROMIUM is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="chromium is not installed: apt-get install chromium"))


@pytest.fixture(scope="package")
def chromium() -> str:
    assert CHROMIUM
    return CHROMIUM


@pytest.fixture(scope="package")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",  # Chromium has no sandbox for root in a container
                f"--disable-features={','.join((*UNUSED_FEATURES, *PLAYWRIGHT_DISABLES))}",
            ],
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
async def running_office(
    chromium: str, stack: LocalStack, kafka: str, mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    """The running system, with the tenant that its simulator has from the start."""
    folder: Path = tmp_path_factory.mktemp("page")
    env = {"KAFKA_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT": "PT3S"}
    with (
        System(stack, folder, prefix=TOPIC_PREFIX, env=env, modules=forks) as system,
        MongoClient[dict[str, Any]](mongodb_uri) as mongodb,
    ):
        system.start()
        simulator = Simulator(system.simulator, system.ca)
        async with Upstream(kafka, f"{TOPIC_PREFIX}records") as upstream:
            yield Office(system, simulator.tenant(TENANT), upstream, mongodb[TRACKING_DATABASE]["records"])
        simulator.close()


@pytest.fixture
async def office(running_office: Office) -> AsyncIterator[Office]:
    """The running system with the records of one test."""
    yield running_office
    await running_office.delete_published()


@pytest.fixture
async def open_browser(browser: Browser, office: Office) -> AsyncIterator[OpenBrowser]:
    """`await open_browser("Ann Lee", at=…)` opens an empty browser of one user.

    Each browser must close without console errors and without requests to other sites.
    """
    opened: list[UserBrowser] = []

    async def open_(
        name: str,
        *,
        at: str | None = None,
        width: int = 1100,
        zone: str = "Europe/Zurich",
        locale: str = "en-GB",
    ) -> UserBrowser:
        context = await browser.new_context(
            viewport={"width": width, "height": 800}, locale=locale, timezone_id=zone, reduced_motion="reduce"
        )
        home = at or office.home
        user_browser = UserBrowser(office, context, await context.new_page(), name, home)
        await user_browser.watch()
        opened.append(user_browser)
        return user_browser

    yield open_
    for user_browser in opened:
        await user_browser.close()

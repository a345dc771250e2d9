"""`make pictures`: the pictures of README, taken of the page after the demo's story."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import ViewportSize, async_playwright, expect

from deploy.local.processes import local_dir
from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from deploy.local.system import System
from scenarios import story
from simulator import sample_company
from simulator.control.client import Simulator

FOLDER = Path(__file__).parent / "pictures"
SIZE: ViewportSize = {"width": 1180, "height": 880}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


async def take_pictures(system: System, chromium: str) -> None:
    """Plays the story, and takes a picture in each theme."""
    await story.play(
        system, Simulator(system.simulator, system.ca).tenant(TENANT, domain=sample_company.DOMAIN)
    )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in THEMES:
            page = await browser.new_page(
                color_scheme=theme, viewport=SIZE, locale="en-GB", reduced_motion="reduce"
            )
            await page.goto(f"{system['tracking'].url}/#/{'/'.join(sample_company.OPPORTUNITY)}")
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("button", name=sample_company.ANN.name).click()
            await expect(page.get_by_role("article")).to_have_count(3)
            await expect(page.locator(".connection")).to_have_text("Live")
            await page.screenshot(path=FOLDER / f"timeline-{theme}.png")
            await page.close()
        await browser.close()


def main() -> None:
    """The command."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    local_dir().mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=local_dir()) as folder,
        LocalStack(Path(folder), tied=True) as stack,
        System(stack, Path(folder)) as system,
    ):
        system.start()
        asyncio.run(take_pictures(system, chromium))
    print(
        *(f"wrote {path.relative_to(FOLDER.parents[1])}" for path in sorted(FOLDER.glob("*.png"))), sep="\n"
    )


if __name__ == "__main__":
    main()

"""How the page loads, the page on a small screen, and its skip link."""

import re

import pytest
from playwright.async_api import expect

from services.tracking.api.page import WEB_FOLDER

from .conftest import OpenBrowser
from .office import Office

LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk" * 2


def test_index_loads_every_module_without_a_chain_of_imports() -> None:
    index = (WEB_FOLDER / "index.html").read_text()
    loaded = re.findall(r'(?:href|src)="/page/([\w-]+\.js)"', index)
    assert sorted(loaded) == sorted(path.name for path in WEB_FOLDER.glob("*.js"))


async def test_skip_link_leads_into_the_open_record(office: Office, open_browser: OpenBrowser) -> None:
    office.add_user("Skip Per")
    deal = await office.publish_opportunity()
    browser = await open_browser("Skip Per")
    await browser.open_timeline(deal)
    await browser.expect_live()
    await browser.page.reload()
    await browser.expect_live()
    await browser.page.keyboard.press("Tab")
    await expect(browser.page.get_by_role("link", name="Skip to the timeline")).to_be_focused()
    await browser.page.keyboard.press("Enter")
    await expect(browser.page.get_by_role("main")).to_be_focused()
    await browser.expect_record(deal["name"])


@pytest.mark.parametrize("width", [320, 390])
async def test_nothing_is_wider_than_a_phone(office: Office, open_browser: OpenBrowser, width: int) -> None:
    name = f"Tess Tiny {width}"
    address = office.add_user(name)
    deal = await office.publish_opportunity()
    subject = f"A subject that is long enough to need several lines, and {LONG_WORD}"
    office.send(deal["from"], address, subject)
    browser = await open_browser(name, width=width)
    await browser.open_page()
    await browser.open_record(deal)
    await browser.page.get_by_role("article").get_by_role("button").first.click()
    assert await browser.page.evaluate("document.documentElement.scrollWidth") == width
    await browser.expect_accessible("on a phone")
    await browser.page.get_by_role("link", name="All records").click()
    await expect(browser.page.get_by_role("searchbox")).to_be_focused()

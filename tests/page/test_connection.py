"""What the page does while the network or the server is unreachable, and while the page is hidden."""

import asyncio

from playwright.async_api import expect

from . import texts
from .conftest import OpenBrowser
from .office import Office


async def test_failed_text_request_can_be_repeated(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Tea Again")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "Try twice")
    browser = await open_browser("Tea Again")
    browser.expected = "status of 503"
    await browser.open_timeline(deal)
    tile = browser.tile("Try twice")
    await browser.tile_toggle("Try twice").click()
    await browser.page.route("**/text", lambda route: route.fulfill(status=503, json={}), times=1)
    await tile.get_by_role("button", name="Show text").click()
    await expect(tile.get_by_role("alert")).to_contain_text(texts.NO_RESPONSE)
    await browser.expect_accessible("the text is not loaded")
    await tile.get_by_role("button", name="Try again").click()
    await expect(tile.get_by_role("region")).to_contain_text("About Try twice.")
    await browser.tile_toggle("Try twice").click()

    await browser.track("Try twice")
    await browser.page.route("**/tracked/*", lambda route: route.fulfill(status=503, json={}), times=1)
    await browser.tile_toggle("Try twice").click()
    await expect(tile.get_by_role("alert")).to_contain_text(texts.NO_RESPONSE)
    await tile.get_by_role("button", name="Try again").click()
    await expect(tile.get_by_role("region")).to_contain_text("About Try twice.")


async def test_text_hidden_before_it_arrives_stays_hidden(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Hetty Hide")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "Not for other eyes")
    browser = await open_browser("Hetty Hide")
    await browser.open_timeline(deal)
    tile = browser.tile("Not for other eyes")
    await browser.tile_toggle("Not for other eyes").click()
    with office.slow_graph(1.0):
        async with browser.page.expect_response("**/text") as response:
            await tile.get_by_role("button", name="Show text").click()
            await tile.get_by_role("button", name="Hide text").click()
        await (await response.value).finished()
    await expect(tile.get_by_role("button", name="Show text")).to_be_visible()
    await asyncio.sleep(0.2)
    await expect(tile.get_by_role("region")).to_have_count(0)


async def test_timeline_shows_offline_and_catches_up(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Otto Offline")
    deal = await office.publish_opportunity()
    browser = await open_browser("Otto Offline")
    browser.expected = "net::ERR_"
    await browser.open_timeline(deal)
    await browser.expect_live()
    banner = browser.page.locator(".banner")
    await browser.context.set_offline(True)
    await expect(banner).to_contain_text(texts.OFFLINE)
    await browser.expect_accessible("offline")
    office.send(deal["from"], address, "Meanwhile")
    await browser.context.set_offline(False)
    await expect(browser.tile("Meanwhile")).to_be_visible()
    await expect(banner).to_be_hidden()


async def test_record_list_shows_offline_and_catches_up(office: Office, open_browser: OpenBrowser) -> None:
    office.add_user("Oda Search")
    deal = await office.publish_opportunity()
    browser = await open_browser("Oda Search")
    browser.expected = "net::ERR_"
    await browser.open_page()
    records = browser.page.get_by_role("navigation", name="Records")
    status = records.get_by_role("status")
    await records.get_by_role("link", name=deal["name"]).wait_for()
    await browser.context.set_offline(True)
    await expect(status).to_contain_text(texts.OFFLINE)
    await browser.page.get_by_label("Search records by name").fill("Nobody")
    await browser.expect_accessible("a search while offline")
    await expect(status).to_contain_text(texts.OFFLINE)
    await browser.context.set_offline(False)
    await expect(status).to_have_text("No records match “Nobody”")
    await browser.expect_accessible("no record matches")


async def test_request_without_response_times_out(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Ivy Waits")
    deal = await office.publish_opportunity()
    browser = await open_browser("Ivy Waits")
    one_second = (
        "AbortSignal.timeout = ((original) => () => original.call(AbortSignal, 1000))(AbortSignal.timeout)"
    )
    await browser.page.add_init_script(one_second)  # instead of twenty
    await browser.open_timeline(deal)
    await browser.expect_live()
    await browser.page.route("**/timeline?**", lambda _: None)
    office.send(deal["from"], address, "Behind a wall")
    banner = browser.page.locator(".banner")
    await expect(banner).to_contain_text(texts.UNREACHABLE)
    await browser.expect_accessible("the server is unreachable")
    await browser.page.unroute("**/timeline?**")
    await expect(browser.tile("Behind a wall")).to_be_visible()
    await expect(banner).to_be_hidden()


async def test_hidden_page_holds_no_connection_and_catches_up(
    office: Office, open_browser: OpenBrowser
) -> None:
    """A browser has six connections to one server: as many open tabs would leave none for requests."""
    address = office.add_user("Tab Hoarder")
    deal = await office.publish_opportunity()
    browser = await open_browser("Tab Hoarder")
    await browser.page.add_init_script(
        "Object.defineProperty(document, 'hidden', {get: () => Boolean(window.isHidden)})"
    )
    await browser.open_timeline(deal)
    await browser.expect_live()
    set_hidden = "(value) => { isHidden = value; document.dispatchEvent(new Event('visibilitychange')); }"
    async with browser.page.expect_event("requestfailed", lambda request: request.url.endswith("/stream")):
        await browser.page.evaluate(set_hidden, True)
    await asyncio.sleep(1.5)  # longer than the delays before two attempts of a page that lost its connection
    await expect(browser.page.locator(".connection")).to_have_text("Connecting")
    office.send(deal["from"], address, "While the page is hidden")
    await browser.page.evaluate(set_hidden, False)
    await expect(browser.tile("While the page is hidden")).to_be_visible()
    await browser.expect_live()

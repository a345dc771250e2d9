"""The story of the demo on the page: several users, restarts, the keyboard alone."""

import asyncio
import itertools

from playwright.async_api import expect

from deploy.local.stack import LocalStack

from . import texts
from .conftest import OpenBrowser
from .office import Office


async def test_colleague_sees_a_tracked_mail_and_no_suggestion(
    office: Office, open_browser: OpenBrowser
) -> None:
    ann_address = office.add_user("Ann Lee")
    office.add_user("Ben Roy")
    deal = await office.publish_opportunity()
    ann, ben = await open_browser("Ann Lee"), await open_browser("Ben Roy")
    for browser in (ann, ben):
        await browser.open_page()
        await browser.open_record(deal)
        await browser.page.evaluate("window.sameDocument = true")
    await expect(ben.page.get_by_role("heading", name=texts.NOTHING)).to_be_visible()

    office.send(deal["from"], ann_address, "Forty vans")
    vans = ann.tile("Forty vans")
    await expect(vans).to_contain_text(texts.ONLY_YOU)
    await expect(vans).to_contain_text(f"From: {deal['from']['address']} is the contact of this opportunity")
    await ann.expect_announced("New, only you can see it: Forty vans.")
    office.send(deal["from"], ann_address, "Between us")
    await ann.expect_announced("New, only you can see it: Between us.")
    await expect(ann.page.get_by_role("link", name=deal["name"])).to_contain_text("2 suggestions")
    await expect(ann.page.locator(".legend")).to_have_text(
        f"Dashed = private. Track shares it with everyone who can open {deal['name']}, text included."
    )
    await ann.expect_accessible("suggestions")

    with office.slow_graph(1.5):
        await ann.tile_button("Forty vans", "Track").click()
        await expect(vans).to_contain_text(texts.SHARING)
        await ann.expect_accessible("pending")
    await expect(vans).to_contain_text(texts.TRACKED_BY_YOU)
    await ann.expect_announced("Tracked: Forty vans.")

    shared = ben.tile("Forty vans")
    await expect(shared).to_contain_text("Tracked by Ann Lee")
    await ben.tile_toggle("Forty vans").click()
    await expect(shared).to_contain_text("About Forty vans.")
    await expect(shared.get_by_role("button", name="Untrack")).to_have_count(0)
    await ben.expect_accessible("a tracked e-mail, expanded")
    assert "Between us" not in await ben.page.content()

    await ann.tile_toggle("Forty vans").click()
    await ann.tile_button("Forty vans", "Untrack").click()
    await ann.page.get_by_role("dialog").get_by_role("button", name="Untrack").click()
    await expect(vans).to_contain_text(texts.ONLY_YOU)
    await expect(shared).to_have_count(0)
    for browser in (ann, ben):
        assert await browser.page.evaluate("window.sameDocument"), "the page did not reload"


async def test_dismissed_item_is_hidden_and_new_stakeholder_adds_older_mail(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Dora Min")
    deal = await office.publish_opportunity()
    adviser = await office.add_stakeholder(deal)
    office.send(adviser, address, "Better terms")
    office.send(deal["from"], address, "A newsletter")
    browser = await open_browser("Dora Min")
    await browser.open_timeline(deal)

    letter = browser.tile("A newsletter")
    await browser.tile_button("A newsletter", "Dismiss").click()
    dismissed = browser.page.get_by_role("article").filter(has_text=texts.DISMISSED)
    await expect(dismissed).to_contain_text(f"{texts.DISMISSED}A newsletter")
    await expect(dismissed.get_by_role("button", name="Undo")).to_be_focused()
    await browser.expect_accessible("dismissed")
    await browser.page.reload()
    await expect(browser.page.get_by_role("heading", name=texts.NOTHING)).to_be_visible()
    await office.publish_again(deal)
    terms = browser.tile("Better terms")
    await expect(terms).to_contain_text(f"From: {adviser['address']} is a stakeholder of this opportunity")
    await expect(letter).to_have_count(0)

    await browser.tile_button("Better terms", "Dismiss").click()
    await browser.page.get_by_role("button", name="Undo").click()
    await expect(terms).to_contain_text(texts.ONLY_YOU)
    await expect(browser.tile_toggle("Better terms")).to_be_focused()
    await browser.page.reload()
    await expect(terms).to_be_visible()


async def test_page_recovers_from_restarts_of_tracking_and_mongodb(
    office: Office, open_browser: OpenBrowser, stack: LocalStack
) -> None:
    address = office.add_user("Gil Rest")
    deal = await office.publish_opportunity()
    browser = await open_browser("Gil Rest")
    status_503 = "the server responded with a status of 503"
    browser.expected = (
        rf"Failed to load resource: (net::ERR_|{status_503})|net::ERR_(INCOMPLETE_CHUNKED|CONNECTION)"
    )
    await browser.open_timeline(deal)
    await browser.expect_live()
    await browser.page.evaluate("window.sameDocument = true")

    await office.restart("tracking", pause=0.5)
    office.send(deal["from"], address, "After the restart")
    await expect(browser.tile("After the restart")).to_be_visible()
    await browser.expect_live()
    await expect(browser.page.locator(".banner")).to_be_hidden()

    stack.mongod.kill()
    stack.start()
    office.send(deal["from"], address, "After MongoDB was killed")
    await expect(browser.tile("After MongoDB was killed")).to_be_visible()
    assert await browser.page.evaluate("window.sameDocument"), "the page did not reload"


async def test_keyboard_alone_reaches_everything(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Kim Key")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "Typed only")
    office.send(deal["from"], address, "Not wanted")
    browser = await open_browser("Kim Key")
    page, press, tab_to = browser.page, browser.page.keyboard.press, browser.tab_to
    heading = page.get_by_role("heading", level=1)
    await page.goto(browser.home)
    await expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    await press("Enter")
    await page.get_by_role("button", name="Kim Key").wait_for()
    await tab_to("Kim Key")
    await press("Enter")
    await page.get_by_role("link", name=deal["name"]).wait_for()
    await tab_to("Search records")
    await page.keyboard.type(deal["name"])
    await expect(page.get_by_role("navigation", name="Records").get_by_role("link")).to_have_count(1)
    await tab_to(deal["name"])
    await press("Enter")
    await expect(page.get_by_role("heading", level=1, name=deal["name"])).to_be_focused()

    tile = browser.tile("Typed only")
    await tile.wait_for()
    await browser.tile("Not wanted").wait_for()
    await tab_to("Any type")
    await tab_to("Typed only")
    await press("Enter")
    await tab_to("Show text")
    await press("Enter")
    await expect(tile).to_contain_text("About Typed only.")
    await expect(tile.get_by_role("button", name="Hide text")).to_be_focused()
    await press("Shift+Tab")
    await press("Shift+Tab")
    await expect(browser.tile_button("Typed only", "Track")).to_be_focused()
    await press("Enter")
    await expect(tile).to_contain_text(texts.TRACKED_BY_YOU)
    await expect(browser.tile_toggle("Typed only")).to_be_focused()

    await heading.focus()
    await tab_to("Dismiss Not wanted")
    await press("Enter")
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()
    await press("Enter")
    await expect(browser.tile_toggle("Not wanted")).to_be_focused()

    await heading.focus()
    await tab_to("All")
    titles = page.get_by_role("article").get_by_role("heading", level=3)
    for shown in (["Not wanted"], ["Typed only"], ["Not wanted", "Typed only"]):  # Private, Tracked, All
        await press("ArrowRight")
        await expect(titles).to_have_text(shown)
    await tab_to("Any type")
    await press("ArrowRight")
    await press("ArrowRight")
    await expect(page.get_by_role("heading", name=texts.NO_MATCHES)).to_be_visible()
    await tab_to("Clear filters")
    await press("Enter")
    await expect(page.get_by_role("article")).to_have_count(2)
    await expect(page.get_by_label("All", exact=True)).to_be_focused()

    await tab_to("Typed only")
    await press("Enter")
    await tab_to("Untrack")
    await press("Enter")
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    await press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(browser.tile_toggle("Typed only")).to_be_focused()
    await tab_to("Untrack")
    await press("Enter")
    await press("Tab")
    await expect(page.get_by_role("dialog").get_by_role("button", name="Untrack")).to_be_focused()
    await press("Enter")
    await expect(tile).to_contain_text(texts.ONLY_YOU)
    await expect(browser.tile_toggle("Typed only")).to_be_focused()

    await heading.focus()
    await tab_to("Sign out", key="Shift+Tab")
    await press("Enter")
    await expect(page.get_by_role("button", name="Sign in")).to_be_focused()


async def test_record_list_counts_new_suggestions_while_no_record_is_open(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Lisa Look")
    deal = await office.publish_opportunity()
    browser = await open_browser("Lisa Look")
    await browser.page.add_init_script("setInterval = () => 0")  # the periodic refresh is off
    await browser.open_page()
    row = browser.page.get_by_role("link", name=deal["name"])
    await expect(row).not_to_contain_text("suggestion")
    office.send(deal["from"], address, "While the list is open")
    await expect(row).to_contain_text("1 suggestion")


async def test_changes_do_not_postpone_a_search(office: Office, open_browser: OpenBrowser) -> None:
    office.add_user("Stan Busy")
    deal = await office.publish_opportunity()
    await office.publish_opportunity()
    browser = await open_browser("Stan Busy")
    await browser.open_timeline(deal)
    await browser.expect_live()
    found = asyncio.Event()

    async def change_filters() -> None:
        """Each read of the timeline schedules a read of the list."""
        for choice in itertools.cycle(("Meetings", "Any type")):
            if found.is_set():
                return
            await browser.page.get_by_text(choice, exact=True).click()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(change_filters())
        await browser.page.get_by_label("Search records by name").fill(deal["name"])
        links = browser.page.get_by_role("navigation", name="Records").get_by_role("link")
        await expect(links).to_have_count(1)
        found.set()

"""The timeline of one record: its tiles, filters and pages, and what an administrator may do."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from playwright.async_api import expect
from pymongo import MongoClient

from . import texts
from .conftest import OpenBrowser
from .office import TRACKING_DATABASE, Office

ZURICH = ZoneInfo("Europe/Zurich")
NOT_FOUND = "Failed to load resource: the server responded with a status of 404"
HOSTILE_SUBJECT = "<img src=x onerror=window.harmed=6>"
HOSTILE_HTML = """<html><head><title>t</title><style>p{color:red}</style>
<script>window.harmed = 1</script></head>
<body style="background:url(https://tracker.example/b.png)" onload="window.harmed = 2">
<p style='color:red'>Dear Ann,</p>
<img src="https://tracker.example/p.png" alt="Our logo" onerror="window.harmed = 3">
<svg onload="window.harmed = 4"></svg>
<ul><li>one &lt;b&gt;</li><li>two</li></ul><a href="https://evil.example/x">www.bank.example</a>
<iframe src="https://tracker.example/"></iframe>
<a href="javascript:window.harmed = 5">click</a></body></html>"""
HARMLESS_TEXT = "Dear Ann,\n\n[Our logo]\n\n• one <b>\n• two\n\nwww.bank.example (evil.example) click"


async def test_administrator_removes_what_a_user_tracked(office: Office, open_browser: OpenBrowser) -> None:
    addresses = [office.add_user("Tia Tracks"), office.add_user("Tom Also")]
    office.add_user("Ada Min", roles=["AutoCapture.Admin"])
    deal = await office.publish_opportunity()
    office.tenant.send(deal["from"], addresses, subject="For the team", text="To both.")
    tia, tom, ada = [await open_browser(name) for name in ("Tia Tracks", "Tom Also", "Ada Min")]
    for browser in (tia, tom, ada):
        await browser.open_timeline(deal)
    await tia.tile_button("For the team", "Track").click()
    tile = ada.tile("For the team")
    await expect(tile).to_contain_text("Tracked by Tia Tracks")
    await ada.tile_toggle("For the team").click()
    await expect(tile.get_by_role("button", name="Untrack")).to_have_count(0)
    remove = tile.get_by_role("button", name="Remove what Tia Tracks tracked: For the team")
    await remove.click()
    dialog = ada.page.get_by_role("dialog", name="Remove what Tia Tracks tracked?")
    await expect(dialog).to_contain_text(
        "You do this as an administrator: "
        f"“For the team” will no longer be tracked by Tia Tracks on {deal['name']}"
    )
    await ada.expect_accessible("an administrator's dialog")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(tia.tile("For the team")).to_contain_text(texts.TRACKED_BY_YOU)
    await tom.tile_toggle("For the team").click()
    await expect(tom.tile("For the team").get_by_role("region")).to_contain_text("To both.")
    await expect(tom.tile_button("For the team", "Remove")).to_have_count(0)
    await remove.click()
    await dialog.get_by_role("button", name="Remove for Tia Tracks").click()
    for browser in (tia, tom):
        await expect(browser.tile("For the team")).to_contain_text(texts.ONLY_YOU)
    await expect(tile).to_have_count(0)
    await ada.expect_announced("No longer tracked: For the team.")


async def test_private_item_needs_a_confirmation(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Pia Shy")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "My own affair", sensitivity="private")
    browser = await open_browser("Pia Shy")
    await browser.open_timeline(deal)
    tile = browser.tile("My own affair")
    track = browser.tile_button("My own affair", "Track")
    dialog = browser.page.get_by_role("dialog", name="Share something private?")
    await track.click()
    await expect(dialog).to_contain_text(f"everyone who can open {deal['name']}, text included")
    await browser.expect_accessible("the confirmation")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(tile).to_contain_text(texts.ONLY_YOU)
    await expect(track).to_be_focused()
    await track.click()
    await dialog.get_by_role("button", name="Track it").click()
    await expect(tile).to_contain_text(texts.TRACKED_BY_YOU)


async def test_hostile_mail_is_shown_as_plain_text(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Hal Text")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, HOSTILE_SUBJECT, html=HOSTILE_HTML, text=None)
    browser = await open_browser("Hal Text")
    await browser.open_timeline(deal)
    tile = browser.page.get_by_role("article")
    await tile.get_by_role("button").first.click()
    await tile.get_by_role("button", name="Show text").click()
    text = tile.get_by_role("region")
    await expect(text).to_contain_text("one <b>")
    assert (await text.inner_text()).strip() == HARMLESS_TEXT
    assert await browser.page.evaluate("window.harmed") is None
    link = tile.get_by_role("link", name="Open in Outlook")
    assert (await link.get_attribute("rel")) == "noopener noreferrer"
    await tile.get_by_role("button", name="Track").click()
    await expect(tile).to_contain_text(texts.TRACKED_BY_YOU)
    await expect(text).to_contain_text("• two")


async def test_filters_choose_the_tiles(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Phil Ter")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "Received")
    office.tenant.send(address, [deal["from"]], subject="Sent", text="…")
    office.tenant.book(address, [deal["from"]], _tomorrow_at_four(), subject="Talk")
    browser = await open_browser("Phil Ter", locale="de-CH", zone=ZURICH.key)
    await browser.open_timeline(deal)
    titles = browser.page.get_by_role("article").get_by_role("heading", level=3)
    await expect(titles).to_have_count(3)
    await expect(browser.page.get_by_role("heading", level=2, name="Morgen")).to_be_visible()
    await expect(browser.tile("Talk").locator("time")).to_have_text(re.compile(r"^16:00\D+16:30\b"))
    await browser.track("Received")
    await browser.expect_accessible("a sent e-mail, a tracked one, a meeting")
    for choice, shown in (
        ("Meetings", ["Talk"]),
        ("Any type", 3),
        ("Sent", ["Sent"]),
        ("Sent & received", 3),
        ("Tracked", ["Received"]),
        ("Meetings", []),
    ):
        await browser.select_filter(choice)
        if isinstance(shown, list):
            await expect(titles).to_have_text(shown)
        else:
            await expect(titles).to_have_count(shown)
    await expect(browser.page.locator(".notice")).to_contain_text(texts.NO_MATCHES)
    await browser.expect_accessible("no matches")
    await browser.page.get_by_role("button", name="Clear filters").click()
    await expect(titles).to_have_count(3)


async def test_tracked_meeting_that_changes_in_outlook_changes_on_the_page(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Fay Follows")
    deal = await office.publish_opportunity()
    booked = office.tenant.book(deal["from"], [address], _tomorrow_at_four(), subject="Talk", text="Agenda")
    browser = await open_browser("Fay Follows")
    await browser.open_timeline(deal)
    await browser.track("Talk")
    tile = browser.tile("Talk")
    await browser.tile_toggle("Talk").click()
    await expect(tile.get_by_role("region")).to_contain_text("Agenda")

    office.tenant.change_meeting(booked["uid"], text="New plan")
    await expect(tile.get_by_role("region")).to_contain_text("New plan")
    office.tenant.cancel(booked["uid"])
    await expect(browser.tile("Canceled: Talk").locator(".badge")).to_have_text(["Cancelled"])
    office.tenant.delete_event(address, booked["uid"])
    await expect(browser.tile("Canceled: Talk").locator(".badge")).to_have_text(
        ["Cancelled", "Deleted in Outlook"]
    )
    await expect(browser.tile("Canceled: Talk").get_by_role("region")).to_contain_text("New plan")
    await browser.expect_accessible("a cancelled meeting whose source is gone")


def _tomorrow_at_four() -> str:
    tomorrow = datetime.now(ZURICH) + timedelta(days=1)
    return tomorrow.replace(hour=16, minute=0, second=0, microsecond=0).astimezone(UTC).isoformat()


async def test_page_shows_fifty_suggestions_and_that_there_are_more(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Max Many")
    deal = await office.publish_opportunity()
    for number in range(52):
        office.send(deal["from"], address, f"Number {number}")
    browser = await open_browser("Max Many")
    await browser.open_timeline(deal)
    await expect(browser.page.get_by_role("article")).to_have_count(50)
    await expect(browser.page.locator(".notices")).to_contain_text("there are more")
    await expect(browser.page.get_by_text(texts.END)).to_have_count(0)
    await browser.expect_accessible("more than fifty")


async def test_tile_names_ten_people_and_the_others_on_demand(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Rita Round")
    deal = await office.publish_opportunity()
    copies = [f"p{number:02}@round.example" for number in range(14)]
    office.send(deal["from"], address, "To all", cc=copies)
    browser = await open_browser("Rita Round")
    await browser.open_timeline(deal)
    tile = browser.tile("To all")
    await browser.tile_toggle("To all").click()
    await expect(tile.get_by_text(copies[9])).to_be_visible()
    last = tile.get_by_text(copies[13])
    await expect(last).to_be_hidden()
    await tile.get_by_text("and 4 more").click()
    await expect(last).to_be_visible()
    await tile.get_by_role("button", name="Show text").click()
    await expect(tile).to_contain_text("About To all.")
    await expect(last).to_be_visible()


async def test_older_tracked_activities_load_by_page_and_stay(
    office: Office, open_browser: OpenBrowser, mongodb_uri: str
) -> None:
    address = office.add_user("Olga Old")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "Newest")
    browser = await open_browser("Olga Old")
    await browser.open_timeline(deal)
    await browser.track("Newest")
    _insert_older_activities(mongodb_uri, f"{office.tenant.id}/opportunity/{deal['id']}", 70)
    tiles = browser.page.get_by_role("article")
    await expect(tiles).to_have_count(50)
    older = browser.page.get_by_role("button", name="Older tracked activities")
    await older.focus()
    office.send(deal["from"], address, "While the user reads on")
    await expect(browser.tile("While the user reads on")).to_be_visible()
    await expect(older).to_be_focused()
    await browser.expect_accessible("there are older activities")
    await older.click()
    await expect(tiles).to_have_count(72)
    await expect(browser.tile("Old 50").get_by_role("button")).to_be_focused()
    office.send(deal["from"], address, "Newer still")
    await expect(tiles).to_have_count(73)
    await expect(browser.page.get_by_text(texts.END)).to_be_visible()


def _insert_older_activities(mongodb_uri: str, record: str, count: int) -> None:
    """Copies the only tracked activity of a record to each of the days before it."""
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        collection = client[TRACKING_DATABASE]["tracked_activities"]
        newest = collection.find_one({"regarding.record": record})
        assert newest
        documents = []
        for number in range(1, count + 1):
            at = newest["at"] - timedelta(days=number)
            activity = newest["activity"] | {"at": at.isoformat() + "Z", "subject": f"Old {number}"}
            documents.append(newest | {"_id": f"{newest['_id']}-{number}", "at": at, "activity": activity})
        collection.insert_many(documents)


async def test_missing_and_unshared_record_are_not_found(office: Office, open_browser: OpenBrowser) -> None:
    office.add_user("Nora Out")
    deal = await office.publish_opportunity()
    browser = await open_browser("Nora Out")
    browser.expected = NOT_FOUND
    await browser.open_page("/#/opportunity/does-not-exist")
    await browser.expect_record(texts.RECORD_NOT_FOUND)
    await expect(browser.page).to_have_title(f"{texts.RECORD_NOT_FOUND} · Timeline")
    await browser.expect_accessible("record not found")
    await browser.open_record(deal)
    await office.publish_again(deal, readers=["user:somebody-else"])
    await browser.expect_record(texts.RECORD_NOT_FOUND)
    await expect(browser.page.get_by_role("link", name=deal["name"])).to_have_count(0)

"""What the page shows where something prevents suggestions or Track, and the remedy that it names."""

from playwright.async_api import expect

from . import texts
from .conftest import OpenBrowser
from .office import Office

ACCESS_POLICY = "Your organisation's policy does not let this application read your mailbox."


async def test_timeline_explains_why_it_is_empty(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Bea Wait", enrolled=False)
    deal = await office.publish_opportunity()
    browser = await open_browser("Bea Wait")
    await browser.open_timeline(deal)
    notice = browser.page.locator(".notice")
    await expect(notice).to_contain_text("Your mailbox is not connected")
    await expect(notice).to_contain_text("Contact your administrator to enrol your mailbox")
    await browser.expect_accessible("not enrolled")

    with office.slow_graph(1.0):
        mailbox = office.enrol(address)
        await expect(notice).to_contain_text("Your mailbox is being read for the first time")
    await expect(notice).to_contain_text(texts.NOTHING)
    await browser.expect_accessible("nothing")

    office.pause(mailbox)
    await expect(notice.first).to_contain_text("Capture of your mailbox is paused")
    await browser.expect_accessible("paused")
    office.resume(mailbox)
    await expect(notice).to_contain_text(texts.NOTHING)

    office.tenant.block(address, "access-policy")
    office.send(deal["from"], address, "While the mailbox is blocked")
    await expect(notice.first).to_contain_text("Your mailbox cannot be read at the moment")
    await expect(notice.first).to_contain_text(ACCESS_POLICY)
    await browser.expect_accessible("blocked")


async def test_timeline_explains_what_is_slow_or_not_captured(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Sue Slow", enrolled=False)
    deal = await office.publish_opportunity()
    mailbox = office.mailbox_path(address)
    owner = mailbox.rpartition("/")[2]
    simulator = office.tenant.simulator
    simulator.fault(401, mailbox=owner, kind="subscribe", code="ExtensionError")
    simulator.fault(403, mailbox=owner, kind="calendar_view", code="ErrorAccessDenied")
    office.send(deal["from"], address, "Mail that is read")
    office.enrol(address)
    browser = await open_browser("Sue Slow")
    await browser.open_timeline(deal)
    await browser.tile("Mail that is read").wait_for()
    limits = browser.page.locator(".notices .legend").filter(has_text="because")
    not_captured = "Meetings are not captured, because your organisation's policy does not allow it."
    slow = "Slow: no notifications, because Microsoft 365 refuses them (exchange 401)."
    await expect(limits).to_have_text(
        [
            f"{not_captured} Contact your administrator.",
            f"{slow} Anything new may take some minutes to appear.",
        ]
    )
    await browser.expect_accessible("slow, and without meetings")

    simulator.clear_faults()
    office.pause(mailbox)
    await expect(browser.page.locator(".notice.warning")).to_contain_text("Capture of your mailbox is paused")
    await expect(limits).to_have_count(0)
    office.resume(mailbox)
    await expect(browser.page.locator(".notice.warning")).to_have_count(0)
    await expect(limits).to_have_count(0)


async def test_failed_track_shows_its_reason_and_can_be_retried(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Fay Retry")
    deal = await office.publish_opportunity()
    office.send(deal["from"], address, "Try me")
    browser = await open_browser("Fay Retry")
    await browser.open_timeline(deal)
    tile = browser.tile("Try me")
    await tile.wait_for()
    mailbox = office.mailbox_path(address)
    office.pause(mailbox)
    await browser.tile_button("Try me", "Track").click()
    await expect(tile).to_contain_text("Not tracked: capture paused")
    await expect(tile).to_contain_text("Still private")
    await browser.expect_announced("Not tracked: Try me. Capture of your mailbox is paused.")
    await browser.expect_accessible("failed")
    office.resume(mailbox)
    await expect(browser.page.locator(".notice.warning")).to_have_count(0)
    await browser.tile_button("Try me", "Retry").click()
    await expect(tile).to_contain_text(texts.TRACKED_BY_YOU)


async def test_reason_of_several_failed_tiles_is_explained_once(
    office: Office, open_browser: OpenBrowser
) -> None:
    address = office.add_user("Bo Twice")
    deal = await office.publish_opportunity()
    subjects = ("First", "Second")
    for subject in subjects:
        office.send(deal["from"], address, subject)
    browser = await open_browser("Bo Twice")
    await browser.open_timeline(deal)
    for subject in subjects:
        await browser.tile(subject).wait_for()
    office.tenant.block(address, "access-policy")
    for subject in subjects:
        await browser.tile_button(subject, "Track").click()
        await expect(browser.tile(subject)).to_contain_text("Not tracked: mailbox blocked")
    await expect(browser.page.locator(".notice.warning")).to_contain_text(ACCESS_POLICY)
    await expect(browser.page.get_by_role("article").filter(has_text=ACCESS_POLICY)).to_have_count(0)
    await browser.expect_accessible("a failed tile and its reason")


async def test_too_many_groups_are_explained(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Gus Groups", groups=["board"], groups_overage=True)
    deal = await office.publish_opportunity()
    hidden = await office.publish_opportunity(readers=["group:board"], name="For the board")
    browser = await open_browser("Gus Groups")
    await browser.sign_in()
    notice = browser.page.locator(".notice")
    await expect(notice).to_contain_text("You are in more groups than a sign-in can carry")
    await expect(notice).to_contain_text(
        "Contact your administrator to limit the sign-in to the groups that are assigned to this application"
    )
    await browser.expect_accessible("too many groups")
    await browser.open_record(deal)
    await expect(notice.first).to_contain_text("records shared only with a group are hidden from you")
    hidden_link = browser.page.get_by_role("link", name=hidden["name"])
    await expect(hidden_link).to_have_count(0)
    await browser.page.get_by_role("button", name="Sign out").click()
    office.tenant.change_user(address, groups_overage=False)
    await browser.sign_in()
    await expect(hidden_link).to_be_visible()
    await expect(notice).to_have_count(0)

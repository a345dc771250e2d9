"""The simulator's control page, beside the timeline of a user."""

from playwright.async_api import expect

from .conftest import OpenBrowser
from .office import Office


async def test_control_page_sends_books_and_blocks(office: Office, open_browser: OpenBrowser) -> None:
    address = office.add_user("Cora Play")
    deal = await office.publish_opportunity()
    browser = await open_browser("Cora Play")
    await browser.open_timeline(deal)
    control = await browser.context.new_page()
    await control.goto(office.system.for_browsers)
    mail = control.locator("form[action='/control/mail']")
    await mail.get_by_label("From").fill(deal["from"]["address"])
    await mail.get_by_label("To", exact=True).fill(address)
    await mail.get_by_label("Subject").fill("Played")
    await mail.get_by_role("button", name="Send").click()
    await expect(control.get_by_role("status")).to_contain_text("Sent: Played")
    await expect(browser.tile("Played")).to_be_visible()
    meeting = control.locator("form[action='/control/meeting']")
    await meeting.get_by_label("Organizer").fill(address)
    await meeting.get_by_label("Attendee").fill(deal["from"]["address"])
    await meeting.get_by_role("button", name="Book").click()
    await expect(browser.tile("Talk about delivery")).to_be_visible()
    mailbox = control.locator("form[action='/control/mailbox']")
    await mailbox.get_by_label("Mailbox").select_option("Cora Play")
    await mailbox.get_by_label("State").select_option("access-policy")
    await mailbox.get_by_role("button", name="Apply").click()
    await expect(control.get_by_role("status")).to_contain_text("closed to applications")
    await control.close()
    await browser.page.goto(office.system.for_browsers)
    await browser.expect_accessible("the control page")

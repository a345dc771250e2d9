"""Sign-in, sign-out, and an ended session."""

import json

from playwright.async_api import expect

from . import texts
from .browser import EXPIRES_NEVER
from .conftest import OpenBrowser
from .office import Office

SET_SESSION = "(session) => sessionStorage.setItem('timeline.session', session)"


async def test_session_survives_reload_ends_and_is_deleted_by_sign_out(
    office: Office, open_browser: OpenBrowser
) -> None:
    office.add_user("Sue Sion")
    deal = await office.publish_opportunity()
    browser = await open_browser("Sue Sion")
    page = browser.page
    browser.expected = r"status of (400|401)"
    await page.goto(browser.home)
    await browser.expect_accessible("signed out")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name=browser.name).wait_for()
    await browser.expect_accessible("the authority's page")
    await browser.sign_in()
    await browser.expect_accessible("no record chosen")
    await browser.open_record(deal)
    await page.reload()
    await browser.expect_live()
    [session] = await page.evaluate("Object.values(sessionStorage)")
    assert await page.evaluate("localStorage.length") == 0
    assert await browser.context.cookies() == []

    bad_token = {"token": "x.y.z", "expires": EXPIRES_NEVER}
    await page.evaluate(SET_SESSION, json.dumps(json.loads(session) | bad_token))
    await page.reload()
    await browser.expect_live()  # the refresh token renews the session

    await page.evaluate(SET_SESSION, json.dumps(bad_token | {"refresh": "none"}))
    await page.reload()
    await expect(page.get_by_role("alert")).to_have_text(texts.SIGNED_OUT)
    await browser.expect_accessible("session ended")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Sue Sion").click()
    await browser.expect_record(deal["name"])

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_sign_in_started_elsewhere_is_refused(office: Office, open_browser: OpenBrowser) -> None:
    browser = await open_browser("Nobody")
    alert = browser.page.get_by_role("alert")
    await browser.page.goto(f"{browser.home}/?code=abc&state=of-somebody-else")
    await expect(alert).to_contain_text(texts.NOT_STARTED_HERE)
    assert browser.page.url == f"{browser.home}/"
    await browser.page.goto(f"{browser.home}/?error=access_denied&state=x")
    await expect(alert).to_contain_text(texts.NOT_STARTED_HERE)

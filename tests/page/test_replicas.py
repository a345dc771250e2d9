"""Two replicas of tracking, of which one serves two organisations."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from deploy.local.system import Process
from simulator.control.client import TenantControl

from . import texts
from .conftest import OpenBrowser
from .office import Office


@pytest.fixture(scope="module")
def tailspin(running_office: Office) -> TenantControl:
    return running_office.tenant.simulator.tenant(name="Tailspin", domain="tailspin.example")


@pytest.fixture(scope="module")
async def replica(running_office: Office, tailspin: TenantControl) -> AsyncIterator[Process]:
    """A second tracking process, which also accepts the users of Tailspin."""
    env = _tenants(running_office, tailspin)
    replica = await asyncio.to_thread(running_office.system.add, "tracking", env)
    yield replica
    await asyncio.to_thread(replica.stop)


def _tenants(office: Office, tailspin: TenantControl) -> dict[str, str]:
    return {"TRACKING_TENANTS": json.dumps([office.tenant.id, tailspin.id])}


async def test_users_of_several_organisations_sign_in_and_others_are_refused(
    office: Office, tailspin: TenantControl, replica: Process, open_browser: OpenBrowser
) -> None:
    office.add_user("Cleo Contoso")
    deal = await office.publish_opportunity()
    woodgrove = office.tenant.simulator.tenant(name="Woodgrove", domain="woodgrove.example")
    tailspin.user("alex@tailspin.example", name="Alex Tailspin")
    woodgrove.user("alex@woodgrove.example", name="Alex Woodgrove")
    customer = "A customer of Tailspin"
    await office.publish(
        {"tenant": tailspin.id, "version": 1, "type": "account", "id": "customer", "name": customer}
    )
    for name, visible, hidden in (
        ("Cleo Contoso", deal["name"], customer),
        ("Alex Tailspin", customer, deal["name"]),
    ):
        browser = await open_browser(name, at=replica.url)
        await browser.sign_in()
        await expect(browser.page.get_by_role("link", name=visible)).to_be_visible()
        await expect(browser.page.get_by_role("link", name=hidden)).to_have_count(0)

    browser = await open_browser("Alex Woodgrove", at=replica.url)
    browser.expected = "status of 401"
    await browser.page.goto(browser.home)
    await browser.page.get_by_role("button", name="Sign in").click()
    await expect(browser.page.get_by_role("heading", name="Woodgrove")).to_be_visible()
    await browser.expect_accessible("accounts of several organisations")
    await browser.page.get_by_role("button", name=browser.name).click()
    await expect(browser.page.get_by_role("alert")).to_contain_text(
        "does not accept that account (the tenant is not onboarded)"
    )
    await browser.expect_accessible("account refused")
    await browser.page.get_by_role("button", name="Sign in with another account").click()
    assert "prompt=select_account" in browser.page.url
    await browser.page.get_by_role("button", name="Cleo Contoso").click()
    await browser.expect_signed_in("Cleo Contoso")


async def test_change_on_one_replica_appears_on_pages_of_another(
    office: Office, tailspin: TenantControl, replica: Process, open_browser: OpenBrowser
) -> None:
    """The remaining replica reads the partitions of a killed one, whose pages recover when it is back."""
    address = office.add_user("Rea One")
    office.add_user("Rob Two")
    deal = await office.publish_opportunity()
    first = await open_browser("Rea One")
    second = await open_browser("Rea One", at=replica.url)
    colleague = await open_browser("Rob Two", at=replica.url)
    for browser in (first, second, colleague):
        await browser.open_timeline(deal)
        await browser.expect_live()
    subjects = [
        f"Mail {number}" for number in range(4)
    ]  # of both partitions, so that both replicas read some
    for subject in subjects:
        office.send(deal["from"], address, subject)
    for subject in subjects:
        for browser in (first, second):
            await expect(browser.tile(subject)).to_contain_text(texts.ONLY_YOU)

    await first.tile_button("Mail 0", "Track").click()
    await expect(second.tile("Mail 0")).to_contain_text(texts.TRACKED_BY_YOU)
    await expect(colleague.tile("Mail 0")).to_contain_text("Tracked by Rea One")
    await second.tile_button("Mail 1", "Dismiss").click()
    await expect(first.tile("Mail 1")).to_have_count(0)
    await second.tile_toggle("Mail 0").click()
    await second.tile_button("Mail 0", "Untrack").click()
    await second.page.get_by_role("dialog").get_by_role("button", name="Untrack").click()
    await expect(first.tile("Mail 0")).to_contain_text(texts.ONLY_YOU)
    await expect(colleague.page.get_by_role("article")).to_have_count(0)

    for browser in (second, colleague):
        browser.expected = "Failed to load resource|net::ERR_"
    replica.kill()
    office.send(deal["from"], address, "After the kill")
    await expect(first.tile("After the kill")).to_be_visible(timeout=40_000)
    await asyncio.to_thread(replica.start, _tenants(office, tailspin))
    await expect(second.tile("After the kill")).to_be_visible()
    await second.expect_live()

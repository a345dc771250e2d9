"""What the page says where there is nothing, where something is in the way, and who may not."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import expect
from pymongo import MongoClient

from .conftest import Replica, SitsDown
from .office import Office

ZURICH = ZoneInfo("Europe/Zurich")
NOT_FOUND = r"Failed to load resource: the server responded with a status of 404"


async def test_a_mailbox_that_is_not_enrolled_paused_or_blocked_is_said_with_what_to_do(
    office: Office, sits_down: SitsDown
) -> None:
    address = office.colleague("Bea Wait", enrolled=False)
    deal = await office.deal()
    desk = await sits_down("Bea Wait")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    notice = desk.page.locator(".notice")
    await expect(notice).to_contain_text("Your mailbox is not connected")
    await expect(notice).to_contain_text("Ask your administrator to enrol your mailbox")
    await desk.is_accessible("not enrolled")

    with office.slow_graph(1.0):
        enrolled = office.mailbox("POST", "", {"tenant": office.tenant.id, "mailbox": address})
        await expect(notice).to_contain_text("Your mailbox is being read for the first time")
    await expect(notice).to_contain_text("Nothing in the last three days")
    await desk.is_accessible("nothing")

    place = f"/{office.tenant.id}/{enrolled['mailbox']}"
    office.mailbox("POST", f"{place}/pause")
    await expect(notice.first).to_contain_text("Capture of your mailbox is paused")
    await desk.is_accessible("paused")
    office.mailbox("POST", f"{place}/resume")
    await expect(notice).to_contain_text("Nothing in the last three days")

    office.tenant.block(address, "access-policy")
    office.send(deal["from"], address, "Behind a closed door")
    await expect(notice.first).to_contain_text("Your mailbox cannot be read at the moment")
    await expect(notice.first).to_contain_text("policy does not let this application read your mailbox")
    await desk.is_accessible("blocked")


async def test_track_that_fails_says_why_and_can_be_retried(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Fay Retry")
    deal = await office.deal()
    office.send(deal["from"], address, "Try me")
    desk = await sits_down("Fay Retry")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    tile = desk.tile("Try me")
    await tile.wait_for()
    mailbox = next(
        f"/{office.tenant.id}/{user['oid']}"
        for user in office.tenant.show()["users"]
        if user["address"] == address
    )
    office.mailbox("POST", f"{mailbox}/pause")
    await tile.get_by_role("button", name="Track").click()
    await expect(tile).to_contain_text("Not tracked. Capture of your mailbox is paused.")
    await desk.is_accessible("failed")
    office.mailbox("POST", f"{mailbox}/resume")
    await expect(desk.page.locator(".notice.warning")).to_have_count(0)
    await tile.get_by_role("button", name="Retry").click()
    await expect(tile).to_contain_text("Tracked by you")


async def test_an_administrator_may_take_off_what_anybody_tracked_and_is_told_whose(
    office: Office, sits_down: SitsDown
) -> None:
    address, other = office.colleague("Tia Tracks"), office.colleague("Tom Also")
    office.colleague("Ada Min", roles=["AutoCapture.Admin"])
    deal = await office.deal()
    office.tenant.send(deal["from"], [address, other], subject="For the team", text="To both.")
    tia, tom, ada = await sits_down("Tia Tracks"), await sits_down("Tom Also"), await sits_down("Ada Min")
    for desk in (tia, tom, ada):
        await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await tia.tile("For the team").get_by_role("button", name="Track").click()
    tile = ada.tile("For the team")
    await expect(tile).to_contain_text("Tracked by Tia Tracks")
    await tile.get_by_role("button", name="For the team").click()
    await expect(tile.get_by_role("button", name="Untrack")).to_have_count(0)
    remove = tile.get_by_role("button", name="Remove what Tia Tracks tracked: For the team")
    await remove.click()
    dialog = ada.page.get_by_role("dialog", name="Remove what Tia Tracks tracked?")
    await expect(dialog).to_contain_text(
        f"You do this as an administrator: “For the team” will no longer be tracked by Tia Tracks on {deal['name']}"
    )
    await ada.is_accessible("an administrator's question")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(tia.tile("For the team")).to_contain_text("Tracked by you")
    his = tom.tile("For the team")
    await his.get_by_role("button", name="For the team").click()
    await expect(his.get_by_role("region")).to_contain_text("To both.")
    await expect(his.get_by_role("button", name="Remove")).to_have_count(0)
    await remove.click()
    await dialog.get_by_role("button", name="Remove for Tia Tracks").click()
    for desk in (tia, tom):
        await expect(desk.tile("For the team")).to_contain_text("Only you can see this")
    await expect(tile).to_have_count(0)
    await ada.says("No longer tracked: For the team.")


async def test_too_many_groups_are_said_with_what_to_do(office: Office, sits_down: SitsDown) -> None:
    office.colleague("Gus Groups", groups=["board"], groups_overage=True)
    deal = await office.deal()
    hidden = str((await office.deal(readers=["group:board"], name="For the board"))["name"])
    desk = await sits_down("Gus Groups")
    await desk.sign_in()
    notice = desk.page.locator(".notice")
    await expect(notice).to_contain_text("You are in more groups than a sign-in can carry")
    await expect(notice).to_contain_text(
        "Ask your administrator to let the sign-in carry only the groups that are assigned to this application"
    )
    await desk.is_accessible("too many groups")
    await desk.open(deal)
    await expect(notice.first).to_contain_text("what is shared with a group alone is hidden from you")
    await expect(desk.page.get_by_role("link", name=hidden)).to_have_count(0)
    await desk.page.get_by_role("button", name="Sign out").click()
    office.tenant.change_user("gus.groups@contoso.example", groups_overage=False)
    await desk.sign_in()
    await expect(desk.page.get_by_role("link", name=hidden)).to_be_visible()
    await expect(notice).to_have_count(0)


async def test_people_of_several_organisations_sign_in_at_one_page_and_others_are_told_why_not(
    office: Office, replica: Replica, sits_down: SitsDown
) -> None:
    office.colleague("Cleo Contoso")
    deal = await office.deal()
    tenants = {
        name: office.tenant.simulator.tenant(name=name, domain=f"{name.lower()}.example")
        for name in ("Tailspin", "Woodgrove")
    }
    for name, tenant in tenants.items():
        tenant.user(f"alex@{name.lower()}.example", name=f"Alex {name}")
    theirs = "An account of Tailspin"
    await office.upstream.publish(
        [{"tenant": tenants["Tailspin"].id, "version": 1, "type": "account", "id": "theirs", "name": theirs}]
    )
    tracking = await replica(TENANTS=json.dumps([office.tenant.id, tenants["Tailspin"].id]))
    for name, sees, never in (
        ("Cleo Contoso", deal["name"], theirs),
        ("Alex Tailspin", theirs, deal["name"]),
    ):
        desk = await sits_down(name, at=tracking.url)
        await desk.sign_in()
        await expect(desk.page.get_by_role("link", name=sees)).to_be_visible()
        await expect(desk.page.get_by_role("link", name=never)).to_have_count(0)

    desk = await sits_down("Alex Woodgrove", at=tracking.url)
    desk.expected = "status of 401"
    await desk.page.goto(desk.home)
    await desk.page.get_by_role("button", name="Sign in").click()
    await expect(desk.page.get_by_role("heading", name="Woodgrove")).to_be_visible()
    await desk.is_accessible("accounts of several organisations")
    await desk.page.get_by_role("button", name=desk.name).click()
    await expect(desk.page.get_by_role("alert")).to_contain_text(
        "does not take that account (the tenant is not onboarded)"
    )
    await desk.is_accessible("not let in")
    await desk.page.get_by_role("button", name="Sign in with another account").click()
    assert "prompt=select_account" in desk.page.url
    await desk.page.get_by_role("button", name="Cleo Contoso").click()
    await desk.is_in("Cleo Contoso")


async def test_a_private_item_asks_once_more(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Pia Shy")
    deal = await office.deal()
    office.send(deal["from"], address, "My own affair", sensitivity="private")
    desk = await sits_down("Pia Shy")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    tile, dialog = (
        desk.tile("My own affair"),
        desk.page.get_by_role("dialog", name="Share something private?"),
    )
    await tile.get_by_role("button", name="Track").click()
    await expect(dialog).to_contain_text("everyone who can read " + deal["name"])
    await desk.is_accessible("asked once more")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(tile).to_contain_text("Only you can see this")
    await expect(tile.get_by_role("button", name="Track")).to_be_focused()
    await tile.get_by_role("button", name="Track").click()
    await dialog.get_by_role("button", name="Track it").click()
    await expect(tile).to_contain_text("Tracked by you")


LONG = f"A subject that is long enough to need several lines, and {'Donaudampfschifffahrtselektrizitätenhauptbetriebswerk' * 2}"
HOSTILE = """<html><head><title>t</title><style>p{color:red}</style><script>window.harmed = 1</script></head>
<body style="background:url(https://tracker.example/b.png)" onload="window.harmed = 2"><p style='color:red'>Dear Ann,</p>
<img src="https://tracker.example/p.png" alt="Our logo" onerror="window.harmed = 3"><svg onload="window.harmed = 4"></svg>
<ul><li>one &lt;b&gt;</li><li>two</li></ul><a href="https://evil.example/x">www.bank.example</a><iframe src="https://tracker.example/"></iframe>
<a href="javascript:window.harmed = 5">click</a></body></html>"""


async def test_the_text_of_a_hostile_mail_is_text(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Hal Text")
    deal = await office.deal()
    office.send(deal["from"], address, "<img src=x onerror=window.harmed=6>", html=HOSTILE, text=None)
    desk = await sits_down("Hal Text")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    tile = desk.page.get_by_role("article")
    await tile.get_by_role("button").first.click()
    await tile.get_by_role("button", name="Show text").click()
    text = tile.get_by_role("region")
    await expect(text).to_contain_text("one <b>")
    assert (
        await text.inner_text()
    ).strip() == "Dear Ann,\n\n[Our logo]\n\n• one <b>\n• two\n\nwww.bank.example (evil.example) click"
    assert await desk.page.evaluate("window.harmed") is None
    link = tile.get_by_role("link", name="Open in Outlook")
    assert (await link.get_attribute("rel")) == "noopener noreferrer"
    await tile.get_by_role("button", name="Track").click()
    await expect(tile).to_contain_text("Tracked by you")
    await expect(tile.get_by_role("region")).to_contain_text("• two")


async def test_filters_choose_what_is_shown(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Phil Ter")
    deal = await office.deal()
    office.send(deal["from"], address, "Received")
    office.tenant.send(address, [deal["from"]], subject="Sent", text="…")
    office.tenant.book(address, [deal["from"]], _tomorrow(), subject="Talk")
    desk = await sits_down("Phil Ter", locale="de-CH", zone=ZURICH.key)
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    titles = desk.page.get_by_role("article").get_by_role("heading", level=3)
    await expect(titles).to_have_count(3)
    await expect(desk.page.get_by_role("heading", level=2, name="Morgen")).to_be_visible()
    await expect(desk.tile("Talk").locator("time")).to_have_text(re.compile(r"^16:00\D+16:30\b"))
    await desk.tile("Received").get_by_role("button", name="Track").click()
    await expect(desk.tile("Received")).to_contain_text("Tracked by you")
    await desk.is_accessible("a mail, a tracked one, a meeting")
    for choice, left in (
        ("Meetings", ["Talk"]),
        ("All kinds", 3),
        ("Sent", ["Sent"]),
        ("Both ways", 3),
        ("Tracked", ["Received"]),
        ("Meetings", []),
    ):
        await desk.page.get_by_text(choice, exact=True).first.click()
        if isinstance(left, list):
            await expect(titles).to_have_text(left)
        else:
            await expect(titles).to_have_count(left)
    await expect(desk.page.locator(".notice")).to_contain_text("Nothing passes the filters")
    await desk.is_accessible("nothing passes the filters")
    await desk.page.get_by_role("button", name="Clear the filters").click()
    await expect(titles).to_have_count(3)


def _tomorrow() -> str:
    return (
        (datetime.now(ZURICH) + timedelta(days=1))
        .replace(hour=16, minute=0, second=0, microsecond=0)
        .astimezone(UTC)
        .isoformat()
    )


async def test_more_than_fifty_suggestions_are_said(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Max Many")
    deal = await office.deal()
    for number in range(52):
        office.send(deal["from"], address, f"Number {number}")
    desk = await sits_down("Max Many")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await expect(desk.page.get_by_role("article")).to_have_count(50)
    await expect(desk.page.locator(".notices")).to_contain_text("there are more")
    await expect(desk.page.get_by_text("That is all there is.")).to_have_count(0)
    await desk.is_accessible("more than fifty")


async def test_of_many_people_ten_are_named_and_the_others_on_demand(
    office: Office, sits_down: SitsDown
) -> None:
    address = office.colleague("Rita Round")
    deal = await office.deal()
    office.send(deal["from"], address, "To all", cc=[f"p{number:02}@round.example" for number in range(14)])
    desk = await sits_down("Rita Round")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    tile = desk.tile("To all")
    await tile.get_by_role("button", name="To all").first.click()
    await expect(tile.get_by_text("p09@round.example")).to_be_visible()
    last = tile.get_by_text("p13@round.example")
    await expect(last).to_be_hidden()
    await tile.get_by_text("and 4 more").click()
    await expect(last).to_be_visible()
    await tile.get_by_role("button", name="Show text").click()
    await expect(tile).to_contain_text("About To all.")
    await expect(last).to_be_visible()


async def test_older_tracked_activities_come_page_by_page_and_stay(
    office: Office, sits_down: SitsDown, mongodb_uri: str
) -> None:
    address = office.colleague("Olga Old")
    deal = await office.deal()
    office.send(deal["from"], address, "Newest")
    desk = await sits_down("Olga Old")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.tile("Newest").get_by_role("button", name="Track").click()
    await expect(desk.tile("Newest")).to_contain_text("Tracked by you")
    with MongoClient[dict[str, Any]](mongodb_uri) as client:  # a year's worth, as if tracked one by one
        collection = client["page-tracking"]["tracked"]
        newest = collection.find_one({"regarding.record": f"{office.tenant.id}/opportunity/{deal['id']}"})
        assert newest
        days = [newest["at"] - timedelta(days=number) for number in range(1, 71)]
        collection.insert_many(
            newest
            | {
                "_id": f"{newest['_id']}-{n}",
                "at": at,
                "activity": newest["activity"] | {"at": at.isoformat() + "Z", "subject": f"Old {n}"},
            }
            for n, at in enumerate(days, 1)
        )
    tiles = desk.page.get_by_role("article")
    await expect(tiles).to_have_count(50)
    older = desk.page.get_by_role("button", name="Older tracked activities")
    await older.focus()
    office.send(deal["from"], address, "While she reads on")
    await expect(desk.tile("While she reads on")).to_be_visible()
    await expect(older).to_be_focused()
    await desk.is_accessible("there is more that is older")
    await older.click()
    await expect(tiles).to_have_count(72)
    await expect(desk.tile("Old 50").get_by_role("button")).to_be_focused()
    office.send(deal["from"], address, "Newer still")
    await expect(tiles).to_have_count(73)
    await expect(desk.page.get_by_text("That is all there is.")).to_be_visible()


async def test_no_such_record_and_one_that_is_taken_away(office: Office, sits_down: SitsDown) -> None:
    office.colleague("Nora Out")
    deal = await office.deal()
    desk = await sits_down("Nora Out")
    desk.expected = NOT_FOUND
    await desk.sign_in("/#/opportunity/was-never-there")
    await expect(desk.page.get_by_role("heading", level=1)).to_have_text("There is no such record here")
    await expect(desk.page).to_have_title("There is no such record here · Timeline")
    await desk.is_accessible("no such record")
    await desk.open(deal)
    await office.publish_again(deal, readers=["user:somebody-else"])
    await expect(desk.page.get_by_role("heading", level=1)).to_have_text("There is no such record here")
    await expect(desk.page.get_by_role("link", name=deal["name"])).to_have_count(0)


async def test_the_skip_link_leads_into_the_record_that_is_open(office: Office, sits_down: SitsDown) -> None:
    office.colleague("Skip Per")
    deal = await office.deal()
    desk = await sits_down("Skip Per")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.is_live()
    await desk.page.reload()
    await desk.is_live()
    await desk.page.keyboard.press("Tab")
    await expect(desk.page.get_by_role("link", name="Skip to the timeline")).to_be_focused()
    await desk.page.keyboard.press("Enter")
    await expect(desk.page.get_by_role("main")).to_be_focused()
    await expect(desk.page.get_by_role("heading", level=1)).to_have_text(deal["name"])


async def test_a_reload_stays_signed_in_an_ended_session_asks_and_sign_out_forgets(
    office: Office, sits_down: SitsDown
) -> None:
    office.colleague("Sue Sion")
    deal = await office.deal()
    desk = await sits_down("Sue Sion")
    desk.expected = r"status of (400|401)"
    await desk.page.goto(desk.home)
    await desk.is_accessible("signed out")
    await desk.page.get_by_role("button", name="Sign in").click()
    await desk.page.get_by_role("button", name=desk.name).wait_for()
    await desk.is_accessible("the authority's page")
    await desk.sign_in()
    await desk.is_accessible("no record chosen")
    await desk.open(deal)
    await desk.page.reload()
    await desk.is_live()
    [session] = await desk.page.evaluate("Object.values(sessionStorage)")
    assert await desk.page.evaluate("localStorage.length") == 0
    assert await desk.context.cookies() == []

    await desk.page.evaluate(
        "([s]) => sessionStorage.setItem('timeline.session', s)",
        [json.dumps(json.loads(session) | {"token": "x.y.z", "ends": 9e9})],
    )
    await desk.page.reload()
    await desk.is_live()  # renewed by the refresh token

    await desk.page.evaluate(
        "([s]) => sessionStorage.setItem('timeline.session', s)",
        [json.dumps({"token": "x.y.z", "refresh": "none", "ends": 9e9})],
    )
    await desk.page.reload()
    await expect(desk.page.get_by_role("alert")).to_contain_text("Your session has ended")
    await desk.is_accessible("session ended")
    await desk.page.get_by_role("button", name="Sign in").click()
    await desk.page.get_by_role("button", name="Sue Sion").click()
    await expect(desk.page.get_by_role("heading", level=1)).to_have_text(deal["name"])

    await desk.page.get_by_role("button", name="Sign out").click()
    await expect(desk.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert await desk.page.evaluate("sessionStorage.length") == 0


async def test_a_sign_in_that_was_not_begun_here_is_not_taken(office: Office, sits_down: SitsDown) -> None:
    desk = await sits_down("Nobody")
    await desk.page.goto(f"{desk.home}/?code=abc&state=of-somebody-else")
    await expect(desk.page.get_by_role("alert")).to_contain_text("was not begun in this tab")
    assert desk.page.url == f"{desk.home}/"
    await desk.page.goto(f"{desk.home}/?error=access_denied&state=x")
    await expect(desk.page.get_by_role("alert")).to_contain_text("was not begun in this tab")


@pytest.mark.parametrize("width", [320, 390])
async def test_on_a_phone_nothing_is_wider_than_the_screen(
    office: Office, sits_down: SitsDown, width: int
) -> None:
    address = office.colleague(f"Tess Tiny {width}")
    deal = await office.deal()
    office.send(
        deal["from"],
        address,
        LONG,
    )
    desk = await sits_down(f"Tess Tiny {width}", width=width)
    await desk.sign_in()
    await desk.open(deal)
    await desk.page.get_by_role("article").get_by_role("button").first.click()
    assert await desk.page.evaluate("document.documentElement.scrollWidth") == width
    await desk.is_accessible("on a phone")
    await desk.page.get_by_role("link", name="All records").click()
    await expect(desk.page.get_by_role("searchbox")).to_be_focused()


async def test_the_control_page_sends_books_and_closes(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Cora Play")
    deal = await office.deal()
    desk = await sits_down("Cora Play")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    control = await desk.context.new_page()
    await control.goto(office.system.for_browsers)
    mail = control.locator("form[action='/control/mail']")
    await mail.get_by_label("From").fill(deal["from"]["address"])
    await mail.get_by_label("To", exact=True).fill(address)
    await mail.get_by_label("Subject").fill("Played")
    await mail.get_by_role("button", name="Send").click()
    await expect(control.get_by_role("status")).to_contain_text("Sent: Played")
    await expect(desk.tile("Played")).to_be_visible()
    meeting = control.locator("form[action='/control/meeting']")
    await meeting.get_by_label("Organizer").fill(address)
    await meeting.get_by_label("Attendee").fill(deal["from"]["address"])
    await meeting.get_by_role("button", name="Book").click()
    await expect(desk.tile("Talk about delivery")).to_be_visible()
    closing = control.locator("form[action='/control/mailbox']")
    await closing.get_by_label("Mailbox").select_option("Cora Play")
    await closing.get_by_label("State").select_option("access-policy")
    await closing.get_by_role("button", name="Apply").click()
    await expect(control.get_by_role("status")).to_contain_text("closed to applications")
    await control.close()
    await desk.page.goto(office.system.for_browsers)
    await desk.is_accessible("the control page")

"""The story of the demo, on the page, in two browsers."""

import asyncio
import itertools

from playwright.async_api import expect

from .conftest import Replica, SitsDown
from .office import Office


async def test_a_mail_arrives_is_tracked_and_the_colleague_sees_it_and_nothing_else(
    office: Office, sits_down: SitsDown
) -> None:
    ann_address = office.colleague("Ann Lee")
    office.colleague("Ben Roy")
    deal = await office.deal()
    ann, ben = await sits_down("Ann Lee"), await sits_down("Ben Roy")
    for desk in (ann, ben):
        await desk.sign_in()
        await desk.open(deal)
        await desk.page.evaluate("window.sameDocument = true")
    await expect(ben.page.get_by_role("heading", name="Nothing in the last three days")).to_be_visible()

    office.send(deal["from"], ann_address, "Forty vans")
    office.send(deal["from"], ann_address, "Between us")
    vans = ann.tile("Forty vans")
    await expect(vans).to_contain_text("Only you can see this")
    await expect(vans).to_contain_text(f"From: {deal['from']['address']} is the contact of this opportunity")
    await ann.says("New, seen by you alone: Forty vans.")
    await expect(ann.page.get_by_role("link", name=deal["name"])).to_contain_text("2 suggestions")
    await ann.is_accessible("with suggestions")

    with office.slow_graph(1.5):
        await vans.get_by_role("button", name="Track").click()
        await expect(vans).to_contain_text("Tracking pending")
        await ann.is_accessible("pending")
    await expect(vans).to_contain_text("Tracked by you")
    await ann.says("Tracked: Forty vans.")

    shared = ben.tile("Forty vans")
    await expect(shared).to_contain_text("Tracked by Ann Lee")
    await shared.get_by_role("button", name="Forty vans").click()
    await expect(shared).to_contain_text("About Forty vans.")
    await expect(shared.get_by_role("button", name="Untrack")).to_have_count(0)
    await ben.is_accessible("tracked, open")
    assert "Between us" not in await ben.page.content()

    await vans.get_by_role("button", name="Forty vans").click()
    await vans.get_by_role("button", name="Untrack").click()
    await ann.page.get_by_role("dialog").get_by_role("button", name="Untrack").click()
    await expect(vans).to_contain_text("Only you can see this")
    await expect(shared).to_have_count(0)
    for desk in (ann, ben):
        assert await desk.page.evaluate("window.sameDocument"), "nobody reloaded"


async def test_dismiss_undo_and_a_stakeholder_who_brings_older_mail(
    office: Office, sits_down: SitsDown
) -> None:
    address = office.colleague("Dora Min")
    deal = await office.deal()
    adviser = await office.add_stakeholder(deal)
    office.send(adviser, address, "Terms I would ask for")
    office.send(deal["from"], address, "A newsletter")
    desk = await sits_down("Dora Min")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")

    letter = desk.tile("A newsletter")
    await letter.get_by_role("button", name="Dismiss").click()
    gone = desk.page.get_by_role("article").filter(has_text="Dismissed here, for you alone")
    await expect(gone).to_contain_text("A newsletter")
    undo = gone.get_by_role("button", name="Undo")
    await expect(undo).to_be_focused()
    await desk.is_accessible("dismissed")
    await desk.page.reload()
    await expect(desk.page.get_by_role("heading", name="Nothing in the last three days")).to_be_visible()
    await office.publish(deal)
    await expect(desk.tile("Terms I would ask for")).to_contain_text(
        f"From: {adviser['address']} is a stakeholder of this opportunity"
    )
    await expect(letter).to_have_count(0)

    terms = desk.tile("Terms I would ask for")
    await terms.get_by_role("button", name="Dismiss").click()
    await desk.page.get_by_role("button", name="Undo").click()
    await expect(terms).to_contain_text("Only you can see this")
    await expect(terms.get_by_role("button", name="Terms I would ask for").first).to_be_focused()
    await desk.page.reload()
    await expect(terms).to_be_visible()


async def test_tracking_and_mongodb_are_restarted_and_the_page_goes_on_by_itself(
    office: Office, sits_down: SitsDown
) -> None:
    address = office.colleague("Gil Rest")
    deal = await office.deal()
    desk = await sits_down("Gil Rest")
    desk.expected = "Failed to load resource: (net::ERR_|the server responded with a status of 503)|net::ERR_(INCOMPLETE_CHUNKED|CONNECTION)"
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.is_live()
    await desk.page.evaluate("window.sameDocument = true")

    await office.restart("tracking", pause=1.0)
    office.send(deal["from"], address, "After the restart")
    await expect(desk.tile("After the restart")).to_be_visible()
    await desk.is_live()
    await expect(desk.page.locator(".banner")).to_be_hidden()

    office.system.stack.mongod.kill()
    office.system.stack.start()
    office.send(deal["from"], address, "After MongoDB was killed")
    await expect(desk.tile("After MongoDB was killed")).to_be_visible()
    assert await desk.page.evaluate("window.sameDocument"), "nobody reloaded"


async def test_all_of_it_by_keyboard_alone(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Kim Key")
    deal = await office.deal()
    office.send(deal["from"], address, "Typed only")
    office.send(deal["from"], address, "Not wanted")
    desk = await sits_down("Kim Key")
    press = desk.page.keyboard.press
    await desk.page.goto(desk.home)
    await expect(desk.page.get_by_role("button", name="Sign in")).to_be_focused()
    await press("Enter")
    await desk.page.get_by_role("button", name="Kim Key").wait_for()
    await desk.tab_to("Kim Key")
    await press("Enter")
    await desk.page.get_by_role("link", name=deal["name"]).wait_for()
    await desk.tab_to("Search records")
    await desk.page.keyboard.type(deal["name"])
    await expect(desk.page.get_by_role("navigation", name="Records").get_by_role("link")).to_have_count(1)
    await desk.tab_to(deal["name"])
    await press("Enter")
    await expect(desk.page.get_by_role("heading", level=1, name=deal["name"])).to_be_focused()

    tile = desk.tile("Typed only")
    await tile.wait_for()
    await desk.tile("Not wanted").wait_for()
    await desk.tab_to("All kinds")
    await desk.tab_to("Typed only")
    await press("Enter")
    await desk.tab_to("Show text")
    await press("Enter")
    await expect(tile).to_contain_text("About Typed only.")
    await expect(tile.get_by_role("button", name="Hide text")).to_be_focused()
    await press("Shift+Tab")
    await press("Shift+Tab")
    await expect(tile.get_by_role("button", name="Track")).to_be_focused()
    await press("Enter")
    await expect(tile).to_contain_text("Tracked by you")
    await expect(tile.get_by_role("button", name="Typed only").first).to_be_focused()

    await desk.page.get_by_role("heading", level=1).focus()
    await desk.tab_to("Dismiss Not wanted")
    await press("Enter")
    await expect(desk.page.get_by_role("button", name="Undo")).to_be_focused()
    await press("Enter")
    await expect(desk.tile("Not wanted").get_by_role("button", name="Not wanted").first).to_be_focused()

    await desk.page.get_by_role("heading", level=1).focus()
    await desk.tab_to("Everything")
    for key, left in (
        ("ArrowRight", "Not wanted"),
        ("ArrowRight", "Typed only"),
        ("ArrowRight", None),
    ):  # only mine, tracked, and round again
        await press(key)
        await expect(desk.page.get_by_role("article").get_by_role("heading", level=3)).to_have_text(
            [left] if left else ["Not wanted", "Typed only"]
        )
    await desk.tab_to("All kinds")
    await press("ArrowRight")
    await press("ArrowRight")
    await expect(desk.page.get_by_role("heading", name="Nothing passes the filters")).to_be_visible()
    await desk.tab_to("Clear the filters")
    await press("Enter")
    await expect(desk.page.get_by_role("article")).to_have_count(2)
    await expect(desk.page.get_by_label("Everything")).to_be_focused()

    await desk.tab_to("Typed only")
    await press("Enter")
    await desk.tab_to("Untrack")
    await press("Enter")
    await expect(desk.page.get_by_role("button", name="Cancel")).to_be_focused()
    await press("Escape")
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)
    await expect(tile.get_by_role("button", name="Typed only").first).to_be_focused()
    await desk.tab_to("Untrack")
    await press("Enter")
    await press("Tab")
    await expect(desk.page.get_by_role("dialog").get_by_role("button", name="Untrack")).to_be_focused()
    await press("Enter")
    await expect(tile).to_contain_text("Only you can see this")
    await expect(tile.get_by_role("button", name="Typed only").first).to_be_focused()

    await desk.page.get_by_role("heading", level=1).focus()
    await desk.tab_to("Sign out", key="Shift+Tab")
    await press("Enter")
    await expect(desk.page.get_by_role("button", name="Sign in")).to_be_focused()


async def test_the_list_of_records_counts_what_comes_while_no_record_is_open(
    office: Office, sits_down: SitsDown
) -> None:
    address = office.colleague("Lisa Look")
    deal = await office.deal()
    desk = await sits_down("Lisa Look")
    await desk.page.add_init_script("setInterval = () => 0")  # nothing is read by the clock
    await desk.sign_in()
    row = desk.page.get_by_role("link", name=deal["name"])
    await expect(row).not_to_contain_text("suggestion")
    office.send(deal["from"], address, "While she looks at the list")
    await expect(row).to_contain_text("1 suggestion")


async def test_a_search_waits_for_no_pause_in_what_comes(office: Office, sits_down: SitsDown) -> None:
    office.colleague("Stan Busy")
    deal = await office.deal()
    await office.deal()
    desk = await sits_down("Stan Busy")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.is_live()

    found = asyncio.Event()

    async def changes() -> None:  # each reading of the timeline has the list read again
        for choice in itertools.cycle(("Meetings", "All kinds")):
            if found.is_set():
                return
            await desk.page.get_by_text(choice, exact=True).click()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(changes())
        await desk.page.get_by_label("Search records by name").fill(deal["name"])
        await expect(desk.page.get_by_role("navigation", name="Records").get_by_role("link")).to_have_count(1)
        found.set()


async def test_two_replicas_tell_each_other_s_pages(
    office: Office, replica: Replica, sits_down: SitsDown
) -> None:
    """What one process commits, the pages of the other show; whose process is killed, goes on when it is back."""
    address = office.colleague("Rea One")
    office.colleague("Rob Two")
    deal = await office.deal()
    other = await replica()
    here, there, bob = (
        await sits_down("Rea One"),
        await sits_down("Rea One", at=other.url),
        await sits_down("Rob Two", at=other.url),
    )
    for desk in (here, there, bob):
        await desk.sign_in(f"/#/opportunity/{deal['id']}")
        await desk.is_live()
    for number in range(4):  # of both partitions, whichever process reads them
        office.send(deal["from"], address, f"Mail {number}")
    for number in range(4):
        for desk in (here, there):
            await expect(desk.tile(f"Mail {number}")).to_contain_text("Only you can see this")

    await here.tile("Mail 0").get_by_role("button", name="Track").click()
    await expect(there.tile("Mail 0")).to_contain_text("Tracked by you")
    await expect(bob.tile("Mail 0")).to_contain_text("Tracked by Rea One")
    await there.tile("Mail 1").get_by_role("button", name="Dismiss").click()
    await expect(here.tile("Mail 1")).to_have_count(0)
    await there.tile("Mail 0").get_by_role("button", name="Mail 0").click()
    await there.tile("Mail 0").get_by_role("button", name="Untrack").click()
    await there.page.get_by_role("dialog").get_by_role("button", name="Untrack").click()
    await expect(here.tile("Mail 0")).to_contain_text("Only you can see this")
    await expect(bob.page.get_by_role("article")).to_have_count(0)

    for desk in (there, bob):
        desk.expected = "Failed to load resource|net::ERR_"
    other.kill()
    office.send(deal["from"], address, "Read by who is left")
    await expect(here.tile("Read by who is left")).to_be_visible(timeout=40_000)
    await asyncio.to_thread(other.start)
    await expect(there.tile("Read by who is left")).to_be_visible()
    await there.is_live()

"""What the page does while the network or the server is away, and while nobody looks."""

import asyncio

from playwright.async_api import expect

from .conftest import SitsDown
from .office import Office


async def test_a_text_that_could_not_be_had_is_asked_for_again(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Tea Again")
    deal = await office.deal()
    office.send(deal["from"], address, "Ask twice")
    desk = await sits_down("Tea Again")
    desk.expected = "status of 503"
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    tile = desk.tile("Ask twice")
    refusal = {"status": 503, "json": {"error": "unavailable", "message": "away"}}
    title = tile.get_by_role("button", name="Ask twice").first
    await title.click()
    await desk.page.route("**/text", lambda route: route.fulfill(**refusal), times=1)
    await tile.get_by_role("button", name="Show text").click()
    await expect(tile.get_by_role("alert")).to_contain_text("The server did not answer")
    await desk.is_accessible("no text")
    await tile.get_by_role("button", name="Show text").click()
    await expect(tile.get_by_role("region")).to_contain_text("About Ask twice.")
    await title.click()

    await tile.get_by_role("button", name="Track").click()
    await expect(tile).to_contain_text("Tracked by you")
    await desk.page.route("**/tracked/*", lambda route: route.fulfill(**refusal), times=1)
    await title.click()
    await expect(tile.get_by_role("alert")).to_contain_text("The server did not answer")
    await tile.get_by_role("button", name="Try again").click()
    await expect(tile.get_by_role("region")).to_contain_text("About Ask twice.")


async def test_a_text_that_is_hidden_before_it_comes_stays_hidden(
    office: Office, sits_down: SitsDown
) -> None:
    address = office.colleague("Hetty Hide")
    deal = await office.deal()
    office.send(deal["from"], address, "Not for other eyes")
    desk = await sits_down("Hetty Hide")
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    tile = desk.tile("Not for other eyes")
    await tile.get_by_role("button").first.click()
    with office.slow_graph(1.0):
        async with desk.page.expect_response("**/text") as answer:
            await tile.get_by_role("button", name="Show text").click()
            await tile.get_by_role("button", name="Hide text").click()
        await (await answer.value).finished()
    await expect(tile.get_by_role("button", name="Show text")).to_be_visible()
    await asyncio.sleep(0.2)
    await expect(tile.get_by_role("region")).to_have_count(0)


async def test_offline_is_said_and_passes(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Otto Offline")
    deal = await office.deal()
    desk = await sits_down("Otto Offline")
    desk.expected = "net::ERR_"
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.is_live()
    await desk.context.set_offline(True)
    await expect(desk.page.locator(".banner")).to_contain_text("You are offline")
    await desk.is_accessible("offline")
    office.send(deal["from"], address, "Meanwhile")
    await desk.context.set_offline(False)
    await expect(desk.tile("Meanwhile")).to_be_visible()
    await expect(desk.page.locator(".banner")).to_be_hidden()


async def test_offline_the_list_says_that_it_may_be_out_of_date(office: Office, sits_down: SitsDown) -> None:
    office.colleague("Oda Search")
    deal = await office.deal()
    desk = await sits_down("Oda Search")
    desk.expected = "net::ERR_"
    await desk.sign_in()
    records = desk.page.get_by_role("navigation", name="Records")
    await records.get_by_role("link", name=deal["name"]).wait_for()
    await desk.context.set_offline(True)
    await expect(records.get_by_role("status")).to_contain_text("You are offline")
    await desk.page.get_by_label("Search records by name").fill("Nobody is called so")
    await desk.is_accessible("a search while offline")
    await expect(records.get_by_role("status")).to_contain_text("You are offline")
    await desk.context.set_offline(False)
    await expect(records.get_by_role("status")).to_contain_text(
        "No record that you may read has “Nobody is called so” in its name."
    )
    await desk.is_accessible("nothing is called so")


async def test_an_answer_that_never_comes_is_not_waited_for(office: Office, sits_down: SitsDown) -> None:
    address = office.colleague("Ivy Waits")
    deal = await office.deal()
    desk = await sits_down("Ivy Waits")
    await desk.page.add_init_script(
        "AbortSignal.timeout = ((of) => () => of.call(AbortSignal, 1000))(AbortSignal.timeout)"
    )  # a second, not twenty
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.is_live()
    await desk.page.route("**/timeline?**", lambda _: None)
    office.send(deal["from"], address, "Behind a wall")
    await expect(desk.page.locator(".banner")).to_contain_text("The timeline cannot be reached")
    await desk.is_accessible("the server is away")
    await desk.page.unroute("**/timeline?**")
    await expect(desk.tile("Behind a wall")).to_be_visible()
    await expect(desk.page.locator(".banner")).to_be_hidden()


async def test_a_hidden_page_holds_no_connection_and_catches_up(office: Office, sits_down: SitsDown) -> None:
    """A browser has six connections to one server: as many tabs would leave none to do anything with."""
    address = office.colleague("Tab Hoarder")
    deal = await office.deal()
    desk = await sits_down("Tab Hoarder")
    await desk.page.add_init_script(
        "Object.defineProperty(document, 'hidden', {get: () => Boolean(window.away)})"
    )
    await desk.sign_in(f"/#/opportunity/{deal['id']}")
    await desk.is_live()
    turned = "(away) => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }"
    async with desk.page.expect_event("requestfailed", lambda request: request.url.endswith("/stream")):
        await desk.page.evaluate(turned, True)
    await asyncio.sleep(1.5)  # more than two attempts of one that is merely lost
    await expect(desk.page.locator(".live")).to_have_text("Connecting")
    office.send(deal["from"], address, "While she was elsewhere")
    await desk.page.evaluate(turned, False)
    await expect(desk.tile("While she was elsewhere")).to_be_visible()
    await desk.is_live()

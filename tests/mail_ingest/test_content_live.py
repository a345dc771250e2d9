"""Bodies: on `content` for a claim, or shown once; kept nowhere."""

from datetime import UTC, datetime, timedelta

from shared.broker import Kafka
from shared.bus import Outgoing
from shared.clock import micros, system_clock
from shared.events import FetchContent, Kind
from shared.topics import CONTENT_REQUESTS, TRACKING

from .world import World, eventually, kafka_settings


async def request(world: World, mailbox: str, *requests: FetchContent) -> None:
    kafka = Kafka(kafka_settings(world.environment), TRACKING, system_clock)
    await kafka.producer.start()
    key = (world.tenant.id, mailbox)
    await kafka.producer.send(
        *(Outgoing(CONTENT_REQUESTS, key, each, micros(system_clock())) for each in requests)
    )
    await kafka.producer.stop()


def fetch(claim: str, item: str, seconds: float = 60) -> FetchContent:
    return FetchContent(
        claim=claim, item=item, kind=Kind.EMAIL, deadline=datetime.now(UTC) + timedelta(seconds=seconds)
    )


async def test_a_claim_is_answered_with_the_text_and_the_activity_as_it_is(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Offer", html="<p>Grüße</p>")[
        "copies"
    ][0]["id"]
    await eventually(lambda: world.has("Offer"))

    await request(world, ann, fetch("one", item))
    (answer,) = await eventually(world.answers)

    assert (answer.claim, answer.unavailable, answer.content.html, answer.content.cut) == (
        "one",
        None,
        True,
        False,
    )
    assert answer.content.activity == (await world.activities())[item]
    assert "Grüße" in answer.content.text
    assert "Grüße" not in repr([world.documents(name) for name in world.collections()])


async def test_what_cannot_be_had_says_why_and_what_is_late_is_dropped(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Goes")["copies"][0]["id"]
    await eventually(lambda: world.has("Goes"))
    world.tenant.delete(ann, item, hard=True)
    await eventually(world.has)

    await request(world, ann, fetch("late", item, -1), fetch("gone", item))
    await request(world, "00000000-0000-0000-0000-00000000000f", fetch("nobody", item))
    await eventually(lambda: world.answers_to("gone", "nobody"))
    world.tenant.block(ann, "access-policy")
    await request(world, ann, fetch("blocked", item))
    await eventually(lambda: world.answers_to("gone", "nobody", "blocked"))

    assert {answer.claim: answer.unavailable for answer in await world.answers()} == {
        "gone": "gone",
        "nobody": "not_enrolled",
        "blocked": "access_policy",
    }


async def test_a_text_that_is_too_long_is_cut_and_still_fits(world: World) -> None:
    ann = world.user("ann")
    await world.enrol(ann)
    text = '"\\' * 600_000
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Long", text=text)["copies"][
        0
    ]["id"]
    await eventually(lambda: world.has("Long"))

    await request(world, ann, fetch("long", item))
    (answer,) = await eventually(world.answers)

    assert answer.content.cut
    assert 300_000 < len(answer.content.text) <= 900_000
    assert '"\\"\\' in answer.content.text


async def test_a_preview_shows_a_captured_item_and_nothing_else(world: World) -> None:
    ann = world.user("ann")
    item = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Earlier", text="old")[
        "copies"
    ][0]["id"]
    await world.enrol(ann)
    newer = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Offer", text="Hello Ann")[
        "copies"
    ][0]["id"]
    await eventually(lambda: world.has("Offer"))

    def preview(of: str, mailbox: str = ann) -> tuple[int, dict[str, object]]:
        answer = world.ingest.call(
            "POST", "/previews", tenant=world.tenant.id, mailbox=mailbox, item=of, kind="email"
        )
        return answer.status_code, answer.json()

    status, shown = preview(newer)
    assert (status, shown["cut"]) == (200, False)
    assert "Hello Ann" in str(shown["text"])
    assert preview(item) == (404, {"reason": "gone"})
    assert preview(newer, "00000000-0000-0000-0000-00000000000f") == (404, {"reason": "not_enrolled"})
    world.tenant.block(ann, "access-policy")
    assert preview(newer) == (409, {"reason": "access_policy"})

"""Bodies: on `content` for a track request, or in one HTTP response; stored nowhere."""

from datetime import UTC, datetime, timedelta

from shared.broker import KafkaClient
from shared.clock import system_clock, to_micros
from shared.events import ActivityKind, FetchContent
from shared.keys import MailboxKey
from shared.messages import OutgoingMessage
from shared.topics import CONTENT_REQUESTS, TRACKING
from tests.mail_ingest.world import UNKNOWN_MAILBOX, World, eventually, kafka_settings


async def publish_requests(world: World, mailbox: str, *requests: FetchContent) -> None:
    kafka = KafkaClient(kafka_settings(world.environment), TRACKING, system_clock)
    await kafka.producer.start()
    key = MailboxKey(world.tenant.id, mailbox)
    version = to_micros(system_clock())
    await kafka.producer.send(
        *(OutgoingMessage(CONTENT_REQUESTS, key, request, version) for request in requests)
    )
    await kafka.producer.stop()


def fetch(request: str, item: str, seconds: float = 60) -> FetchContent:
    return FetchContent(
        request=request,
        item=item,
        kind=ActivityKind.EMAIL,
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
    )


def receive_email(world: World, **email: str) -> str:
    """Sends an e-mail to Ann, and returns the id of the copy in that mailbox."""
    sent = world.tenant.send("x@fabrikam.com", ["ann@contoso.example"], **email)
    return str(sent["copies"][0]["id"])


async def test_request_is_answered_with_the_text_and_the_present_activity(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, subject="Offer", html="<p>Grüße</p>")
    await eventually(lambda: world.has_subjects("Offer"))

    await publish_requests(world, ann, fetch("one", item))
    (answer,) = await eventually(world.content_answers)

    assert (answer.request, answer.unavailable) == ("one", None)
    assert (answer.content.html, answer.content.cut) == (True, False)
    assert answer.content.activity == (await world.activities())[item]
    assert "Grüße" in answer.content.text
    assert "Grüße" not in repr([world.documents(name) for name in world.collections()])


async def test_unavailable_content_has_a_reason_and_a_late_request_is_dropped(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, subject="Goes")
    await eventually(lambda: world.has_subjects("Goes"))
    world.tenant.delete(ann, item, hard=True)
    await eventually(world.has_subjects)

    await publish_requests(world, ann, fetch("late", item, -1), fetch("gone", item))
    await publish_requests(world, UNKNOWN_MAILBOX, fetch("nobody", item))
    await eventually(lambda: world.has_answers_to("gone", "nobody"))
    world.tenant.block(ann, "access-policy")
    await publish_requests(world, ann, fetch("blocked", item))
    await eventually(lambda: world.has_answers_to("gone", "nobody", "blocked"))

    assert {answer.request: answer.unavailable for answer in await world.content_answers()} == {
        "gone": "gone",
        "nobody": "not_enrolled",
        "blocked": "access_policy",
    }


async def test_text_that_is_too_long_is_cut_and_fits_its_topic(world: World) -> None:
    ann = world.add_user("ann")
    await world.enrol(ann)
    item = receive_email(world, subject="Long", text='"\\' * 600_000)
    await eventually(lambda: world.has_subjects("Long"))

    await publish_requests(world, ann, fetch("long", item))
    (answer,) = await eventually(world.content_answers)

    assert answer.content.cut
    assert 300_000 < len(answer.content.text) <= 900_000
    assert '"\\"\\' in answer.content.text


async def test_preview_shows_captured_items_only(world: World) -> None:
    ann = world.add_user("ann")
    not_captured = receive_email(world, subject="Earlier", text="old")
    await world.enrol(ann)
    captured = receive_email(world, subject="Offer", text="Hello Ann")
    await eventually(lambda: world.has_subjects("Offer"))

    def preview(item: str, mailbox: str = ann) -> tuple[int, dict[str, object]]:
        response = world.ingest.call(
            "POST", "/previews", tenant=world.tenant.id, mailbox=mailbox, item=item, kind="email"
        )
        return response.status_code, response.json()

    def code_of(item: str, mailbox: str = ann) -> tuple[int, object]:
        status, problem = preview(item, mailbox)
        return status, problem["code"]

    status, shown = preview(captured)
    assert (status, shown["cut"]) == (200, False)
    assert "Hello Ann" in str(shown["text"])
    assert code_of(not_captured) == (404, "gone")
    assert code_of(captured, UNKNOWN_MAILBOX) == (404, "not_enrolled")
    world.tenant.block(ann, "access-policy")
    assert code_of(captured) == (409, "access_policy")

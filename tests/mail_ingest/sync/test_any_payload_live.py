"""Broken payloads through the running service: notified by webhook, and found by windows."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.mail_ingest.domain.activities import CAPTURE_WINDOW
from shared.clock import system_clock
from tests.mail_ingest.any_payloads import AnyPayload, AnyPayloads, differences
from tests.mail_ingest.world import Service, World, eventually

pytestmark = pytest.mark.timeout(1500)

BATCH = 150
"""Items of one mailbox."""
SMALL, FULL = 1, 17
"""Batches of messages and of events, by webhook and the same by window: 300 payloads, and 5,100."""


def batches(full_size: bool) -> int:
    return FULL if full_size else SMALL


def payloads_of(seed: int) -> tuple[list[AnyPayload], list[AnyPayload]]:
    """Messages and events for one mailbox."""
    generator = AnyPayloads(seed, system_clock())
    half = BATCH // 2
    # What is refused is in the test by function; most of it needs another folder or another window.
    return [generator.message(folder=None, refused=False) for _ in range(half)], [
        generator.event(refused=False) for _ in range(half)
    ]


def put(
    world: World, mailbox: str, messages: list[AnyPayload], events: list[AnyPayload]
) -> dict[str, AnyPayload]:
    """Puts payloads into a mailbox; returns them by their items' ids."""
    added = world.tenant.do(
        "/items/raw",
        mailbox=mailbox,
        messages=[each.text for each in messages],
        events=[each.text for each in events],
    )
    return dict(zip([*added["messages"], *added["events"]], [*messages, *events], strict=True))


def is_within_window(payload: AnyPayload) -> bool:
    """Whether an item is live now, by its right values; a start that was lost may be days away."""
    at, end = payload.values["at"], payload.values.get("end")
    return abs(system_clock() - at) < CAPTURE_WINDOW and (end is None or end >= at - CAPTURE_WINDOW)


async def check_activities(world: World, mailbox: str, expected: dict[str, AnyPayload]) -> None:
    """Waits for the activities of a mailbox, and compares each with its payload's right values."""
    expected = {item: payload for item, payload in expected.items() if is_within_window(payload)}
    assert len(expected) > BATCH * 0.9

    async def captured() -> dict[str, dict[str, Any]]:
        activities = await world.activities()
        return {
            item: json.loads(activity.model_dump_json())
            for item, activity in activities.items()
            if activity.mailbox == mailbox
        }

    async def has_all() -> bool:
        return expected.keys() <= (await captured()).keys()

    await eventually(has_all, 120)
    activities = await captured()
    found = {item: differences(payload, activities[item]) for item, payload in expected.items()}
    assert {item: which for item, which in found.items() if which} == {}


def check_log(path: Path) -> None:
    """Fails when the service has logged an error."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    own = [line for line in lines if line["name"].startswith(("services.", "shared.", "uvicorn", "asyncio"))]
    assert [line for line in own if line["levelname"] in {"ERROR", "CRITICAL"}] == []
    assert own


@pytest.mark.sized("payloads")
async def test_any_payload_that_a_notification_names_is_captured_as_its_generator_knows(
    world: World, service: Service, full_size: bool
) -> None:
    for batch in range(batches(full_size)):
        ann = world.add_user(f"ann-{batch}")
        await world.enrol(ann)
        mail = world.tenant.send("eve@fabrikam.example", [f"ann-{batch}@contoso.example"], subject="Before")
        expected = put(world, ann, *payloads_of(seed=batch))
        more = world.tenant.send("eve@fabrikam.example", [f"ann-{batch}@contoso.example"], subject="After")
        await check_activities(world, ann, expected)
        usual = {copy["id"] for sent in (mail, more) for copy in sent["copies"]}
        await eventually(lambda usual=usual: _has(world, usual))  # type: ignore[misc]
        assert (await world.activities()).keys() >= usual
    check_log(service.process.log)


async def _has(world: World, items: set[str]) -> bool:
    return items <= (await world.activities()).keys()


async def test_payload_whose_id_is_broken_is_set_aside_and_harms_no_other_item(world: World) -> None:
    """Nothing shows whose answer it is."""
    ann = world.add_user("ann")
    await world.enrol(ann)
    broken = ['{"id": null}', '{"id": 7}', '{"id": "\\ud83d"}']
    world.tenant.do("/items/raw", mailbox=ann, messages=broken, events=[])
    world.tenant.send("eve@fabrikam.example", ["ann@contoso.example"], subject="After")

    async def is_done() -> bool:
        stuck = world.ingest.call("GET", f"/stuck-items?tenant={world.tenant.id}").json()["items"]
        return await world.has_subjects("After") and len(stuck) == len(broken)

    await eventually(is_done)


@pytest.mark.sized("payloads")
async def test_any_payload_that_a_window_shows_is_captured_as_its_generator_knows(
    on_demand: World, on_demand_service: Service, full_size: bool
) -> None:
    world = on_demand
    for batch in range(batches(full_size)):
        name = f"bo-{batch}"
        bo = world.add_user(name)
        expected = put(world, bo, *payloads_of(seed=1000 + batch))
        mail = world.tenant.send("eve@fabrikam.example", [f"{name}@contoso.example"], subject="Usual")
        await world.enrol(bo)
        await check_activities(world, bo, expected)
        await eventually(lambda mail=mail: _has(world, {copy["id"] for copy in mail["copies"]}))  # type: ignore[misc]
        await eventually(lambda bo=bo: world.mailbox(bo)["complete_as_of"])  # type: ignore[misc]
    check_log(on_demand_service.process.log)

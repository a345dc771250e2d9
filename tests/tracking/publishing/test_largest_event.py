"""The largest legal event, and one that is too large, on the real Kafka with the topic's own settings."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.track_request import MAX_ENTRIES
from services.tracking.domain.tracked_activity import MAX_WITHHELD, TrackedActivity
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.publishing.tracked_activities import TrackedActivityPublisher
from services.tracking.store import record_document
from shared.clock import system_clock
from shared.events import ActivityTracked
from shared.keys import RecordKey
from shared.messages import ValueMessage
from shared.records import read_record
from shared.topics import RECORDS, TRACKED_ACTIVITIES
from tests.tracking.bus import Bus, a_bus
from tests.tracking.conftest import valid_message
from tests.tracking.worlds import ANN, CONTOSO, email, tracked

MOST_BYTES = "\N{GRINNING FACE}"
"""A character that needs four bytes, which no other exceeds in an id."""
CONTROL_CHARACTER = "\x01"
"""It needs six bytes in JSON, which no other exceeds in a name or a subject."""


@pytest.fixture
async def bus(environment: dict[str, str]) -> AsyncIterator[Bus]:
    async with a_bus(environment) as bus:
        yield bus


async def largest_activity(bus: Bus, entries: int) -> TrackedActivity:
    """An activity on so many records, each with all that a record may have, stored with its records."""
    keys = [
        RecordKey(CONTOSO, MOST_BYTES * 200, f"{number:03}" + MOST_BYTES * 197) for number in range(entries)
    ]
    for number, key in enumerate(keys):
        readers = [f"user:{reader:059}" for reader in range(200)]
        body = {
            "tenant": key.tenant,
            "type": key.type,
            "id": key.id,
            "name": CONTROL_CHARACTER * 1000,
            "readers": readers,
        }
        message = valid_message(RECORDS, key, read_record(json.dumps(body)), offset=number)
        await bus.store.records.upsert_later([record_document(key, message, 1)])
    mail = email(at=datetime.now(UTC), subject=CONTROL_CHARACTER * 10_000, internet_message_id="i" * 998)
    activity = tracked(mail, *((ANN, key) for key in keys), now=datetime.now(UTC))
    assert await bus.store.tracked_activities.replace_if_unchanged(activity, None)
    return activity


async def published(bus: Bus, activity: TrackedActivity) -> ActivityTracked:
    """The activity's state as Kafka has it."""
    settings = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
    publisher = TrackedActivityPublisher(bus.store, bus.kafka, settings, system_clock)
    assert await publisher.publish([activity]) == 1
    assert await bus.store.tracked_activities.count_publish_pending() == 0
    [message] = await bus.read_all(TRACKED_ACTIVITIES)
    assert isinstance(message, ValueMessage)
    assert isinstance(message.value, ActivityTracked)
    assert message.version == activity.revision
    return message.value


async def test_largest_legal_event_is_published(bus: Bus) -> None:
    event = await published(bus, await largest_activity(bus, MAX_ENTRIES))
    assert len(event.regarding) == MAX_ENTRIES
    assert {len(entry.readers) for entry in event.regarding} == {200}
    assert {entry.name for entry in event.regarding} == {CONTROL_CHARACTER * 200}
    assert event.subject == CONTROL_CHARACTER * 1000


async def test_state_that_is_too_large_is_published_for_nobody(bus: Bus) -> None:
    event = await published(bus, await largest_activity(bus, 2 * MAX_ENTRIES))
    assert (event.regarding, event.subject, event.internet_message_id) == ((), None, None)
    assert len(event.withheld) == 2 * MAX_ENTRIES


async def test_longest_list_of_withheld_entries_fits(bus: Bus) -> None:
    event = await published(bus, await largest_activity(bus, MAX_WITHHELD))
    assert (event.regarding, len(event.withheld)) == ((), MAX_WITHHELD)

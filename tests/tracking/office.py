"""A day of Ann at tracking on the real Kafka: what Ann tracks and untracks around a bad night."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.events import Activity, ActivityTracked
from shared.keys import MessageKey, join_key
from shared.topics import TRACKED_ACTIVITIES

from .authority import Authority
from .bus import Bus, Tracking, a_bus, a_starting_tracking, run_command
from .copies import Copy
from .desk import Desk, a_desk, keys_of
from .worlds import ANN, BEN, RENEWAL, email

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
ON = "/records/opportunity/renewal"
KEPT, UNTRACKED, SINCE = "kept", "untracked", "since"
ITEMS = (KEPT, UNTRACKED, SINCE, "dismissed")


def mail(item: str) -> Activity:
    return email(ANN, item, at=NOW, identity=f"<{item}>", subject=f"About {item}")


@dataclass
class Office:
    """Ann's day: what is tracked, by the names of the items."""

    bus: Bus
    authority: Authority = field(default_factory=Authority)

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[tuple[Tracking, Desk]]:
        """tracking from the beginning of its start."""
        async with (
            a_starting_tracking(self.bus.environment, keys_of(self.authority)) as tracking,
            a_desk(tracking, self.authority) as desk,
        ):
            yield tracking, desk

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Tracking, Desk]]:
        """tracking, ready and quiet."""
        async with self.starting() as (tracking, desk):
            await tracking.until_ready()
            await tracking.until_quiet()
            yield tracking, desk

    async def track(self, tracking: Tracking, desk: Desk, *items: str) -> None:
        for item in items:
            assert (await desk.track(ANN, item)).status_code == 202
        await tracking.until_quiet()

    async def untrack(self, tracking: Tracking, desk: Desk, item: str) -> None:
        activity = (await self.ids())[item]
        assert (await desk.request(ANN, "DELETE", f"{ON}/tracked/{activity}")).status_code == 204
        await tracking.until_quiet()

    async def ids(self) -> dict[str, str]:
        """Item -> id of its tracked activity, as the topic has them."""
        return {
            value.internet_message_id or "": value.activity
            for value in await self.bus.read_values(TRACKED_ACTIVITIES)
            if isinstance(value, ActivityTracked)
        }

    async def last_states(self) -> dict[str, Any]:
        """Item -> the last message about it on the topic."""
        states = await self.bus.tracked_states()
        return {item: states[activity] for item, activity in (await self.ids()).items()}

    async def cases(self, *arguments: str) -> list[dict[str, Any]]:
        """What the administrator sees."""
        printed = await run_command(self.bus.environment, "restored", "list", *arguments)
        return [json.loads(line) for line in printed.splitlines()]


@asynccontextmanager
async def an_office(environment: dict[str, str]) -> AsyncIterator[Office]:
    """Topics, an empty database, a record, and a suggestion of each item."""
    async with a_bus(environment) as bus:
        await bus.record(RENEWAL, name="Fleet renewal", readers=["*"])
        await bus.mailbox(ANN.oid)
        activities = {item: mail(item).model_copy(update={"internet_message_id": item}) for item in ITEMS}
        await bus.match(*((each, [RENEWAL]) for each in activities.values()))
        bus.answer_all_requests({f"{ANN.oid}/{item}": each for item, each in activities.items()})
        yield Office(bus)


async def shown(desk: Desk) -> set[str] | int:
    """The items of the tracked tiles, or the status of another answer than 200."""
    answer = await desk.request(BEN, "GET", f"{ON}/timeline")
    if answer.status_code != 200:
        assert answer.json()["code"] in ("recovering", "not_found", "unavailable")
        return answer.status_code
    return {tile["activity"]["subject"].removeprefix("About ") for tile in answer.json()["tracked"]}


def another(document: dict[str, Any], key: MessageKey) -> dict[str, Any]:
    """The same document under another key."""
    return document | {"_id": join_key(key)}


@asynccontextmanager
async def watched(desk: Desk, seen: list[set[str] | int]) -> AsyncIterator[None]:
    """Reads the timeline all the time."""

    async def watch() -> None:
        while True:
            seen.append(await shown(desk))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def is_shown(desk: Desk, expected: set[str] | int) -> bool:
    return await shown(desk) == expected


async def waits_for(tracking: Tracking, topic: str) -> bool:
    """Whether it is not ready because of this topic."""
    return topic in (await tracking.faults()).get("recovery", "")


async def is_last(office: Office, item: str, expected: Any) -> bool:
    return bool((await office.last_states())[item] == expected)


async def renewed(bus: Bus, copy: Copy) -> bool:
    """Whether the store was renewed after a copy."""
    state = await bus.store.state.find()
    return state is not None and state.version > copy["store_state"][0]["version"]
